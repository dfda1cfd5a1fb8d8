"""Compares the forecasts of `plan --machine here` with steps that this machine takes.

Each small model is forecast from fake tensors, and then trained for some steps in a process of its
own, on one thread. Time is the median step's, memory the most that the process held.
"""

import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.executors.local import LocalExecutor
from dyt_bench.plugin.task import Run
from dyt_bench.scheduling.jobs import TRAINING
from dyt_bench.scheduling.machines import HERE
from dyt_bench.scheduling.roofline import Expected, forecast_on
from dyt_bench.suite.expand import load_suite
from dyt_bench.suite.shipped import suite_file

SUITE = "default"
MEMORY = 0.25  # the most that memory may be off
TIME = 2.0  # the factor that time may be off
WARMUP, STEPS = 10, 40


@dataclass(frozen=True)
class Line:
    """One model with one variant: a forecast, and what was measured."""

    name: str
    memory: tuple[float, float]  # MiB
    step_ms: tuple[float, float]

    @property
    def is_close(self) -> bool:
        off = self.memory[0] / self.memory[1]
        ratio = self.step_ms[0] / self.step_ms[1]
        return abs(off - 1) <= MEMORY and 1 / TIME <= ratio <= TIME

    def __str__(self) -> str:
        return (
            f"{self.name:<32} {self.memory[0]:7.0f} {self.memory[1]:7.0f} MiB "
            f"({self.memory[0] / self.memory[1] - 1:+.0%})  "
            f"{self.step_ms[0]:7.1f} {self.step_ms[1]:7.1f} ms "
            f"(x{self.step_ms[0] / self.step_ms[1]:.2f}){'' if self.is_close else '  too far off'}"
        )


def measure(run: Run, tell: Any) -> tuple[float, float]:
    """The seconds of a median step, and the MiB that the process held at most."""
    import torch

    from dyt_bench.training.clock import peak_memory_mib
    from dyt_bench.training.step import timed_step

    torch.set_num_threads(1)
    timed = timed_step(resolve(run))
    seconds = [timed() for _ in range(WARMUP + STEPS)]
    return median(seconds[WARMUP:]), peak_memory_mib(torch.device("cpu"))


def compare(each: Expected, executor: LocalExecutor) -> Line:
    """The forecast of a run beside its measurement."""
    if each.memory is None or each.step_s is None:
        raise click.ClickException(f"{each.run.label}: {each.problem}")
    with (
        tempfile.TemporaryDirectory() as folder,
        executor.run(partial(measure, each.run), Path(folder) / "log") as running,
    ):
        *_, outcome = running
    seconds, mib = outcome["value"]
    name = f"{each.run.task.domain}/{each.run.task.model} {each.run.variant.label}"
    return Line(name, (each.memory / 2**20, mib), (1e3 * each.step_s, 1e3 * seconds))


@click.command(name="forecast")
@click.argument("suite", default=SUITE)
@click.option("--gate", is_flag=True, help="Exit with 1 where a forecast is too far off.")
def forecast(suite: str, gate: bool) -> None:
    """Print forecast and measurement of every model and variant of SUITE."""
    found = discover()
    _, expected = forecast_on(load_suite(suite_file(suite), found), found, HERE, lambda text: None)
    once = {(e.run.task.domain, e.run.task.model, e.run.variant.label): e for e in expected}
    domains = dict.fromkeys(e.run.task.domain for e in once.values())
    executor = LocalExecutor([*TRAINING, *(m for d in domains for m in found.domain(d).preload)])
    click.echo("forecast and measured memory, forecast and measured time of a step")
    lines = []
    for each in once.values():
        lines.append(compare(each, executor))
        click.echo(str(lines[-1]))
    if gate and not all(line.is_close for line in lines):
        sys.exit(1)
