"""Measures what the harness adds to a training step, against a plain PyTorch loop.

Both train vision/vit on the same batches in this process, on one thread, in turn. A step lasts from
its row to the next; the first steps and the validations are left out. Reported are median and
quartiles, over rounds, of the ratio of the median steps, by the wall clock and by processor time:
on a shared machine, only the second is reliable. The limit, 3 %, is for steps of 100 ms: choose the
batch size accordingly.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import click
import torch

from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record
from dyt_bench.scheduling.jobs import train_run
from dyt_bench.training.build import build, with_logging_off
from dyt_bench.training.clock import quartiles

LIMIT = 0.03  # of a step
FIRST = 3  # steps that are left out: they allocate memory

Clock = tuple[float, float]  # seconds by the wall clock, and of processor time


def clock() -> Clock:
    """Both clocks now."""
    return time.perf_counter(), time.process_time()


def harness(run: Run, folder: Path) -> Iterator[Clock]:
    """The clock after each step of a run that the harness trains."""
    ticks: list[Clock] = []

    def emit(event: dict[str, Any]) -> None:
        if "train/loss" in event.get("metrics", {}):
            ticks.append(clock())

    record = Record(folder)
    record.begin(run, {})
    train_run(run, record, emit)
    yield from ticks


def plain(run: Run, folder: Path) -> Iterator[Clock]:
    """The clock after each step of a loop that does nothing else."""
    data, module, _ = build(resolve(run))
    with_logging_off(module)
    configured: Any = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    module.train()
    for index, batch in enumerate(islice(data.train_dataloader(), run.task.steps)):
        loss = module.training_step(batch, index)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        scheduler.step()
        loss.item()  # type: ignore[union-attr]
        yield clock()


@click.command(name="overhead")
@click.option("--rounds", default=5, show_default=True)
@click.option("--steps", default=16, show_default=True, help="Of each loop in each round.")
@click.option("--batch-size", default=24, show_default=True)
def overhead(rounds: int, steps: int, batch_size: int) -> None:
    """Print milliseconds a step and the overhead; exit status 1 if it is over the limit."""
    torch.set_num_threads(1)
    task = Task(
        domain="vision",
        model="vit",
        dataset="digits",
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-3,
        val_every=steps,
    )
    loops: list[Callable[[Run, Path], Iterator[Clock]]] = [plain, harness]
    # loop -> clock -> the median step of each round, in seconds
    medians = {loop: ([], []) for loop in loops}  # type: dict[Any, tuple[list[float], list[float]]]
    for number in range(rounds):
        for loop in loops if number % 2 else reversed(loops):
            with tempfile.TemporaryDirectory() as folder:
                ticks = list(loop(Run(task=task), Path(folder) / "run"))[FIRST:]
            for place in (0, 1):
                spent = [after[place] - before[place] for before, after in pairwise(ticks)]
                medians[loop][place].append(statistics.median(spent))
    report: dict[str, Any] = {"rounds": rounds, "steps": steps, "batch_size": batch_size}
    for place, name in enumerate(("wall", "cpu")):
        bare, whole = medians[plain][place], medians[harness][place]
        report[f"{name}_step_ms"] = round(1e3 * statistics.median(bare), 2)
        ratios = [w / b - 1 for w, b in zip(whole, bare, strict=True)]
        report[f"{name}_overhead"] = [round(ratio, 4) for ratio in quartiles(ratios)]
    print(json.dumps(report, indent=1))
    sys.exit(report["cpu_overhead"][1] > LIMIT)
