"""Measures how much busy neighbours slow a training step, by threads and by how these wait.

At OpenMP's barriers threads spin (active) or sleep (passive) until the last one comes. Each way is
measured alone and beside processes that only count. A process of its own trains, as the policy is
read once; for two runs at a time, two of them start their steps together.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import fmean, median

import click

WARMUP = 3  # steps that are left out
_COUNT = "while True: pass"


@dataclass(frozen=True)
class Way:
    """How a machine of two cores is used."""

    name: str
    threads: int
    policy: str  # OMP_WAIT_POLICY
    runs: int = 1  # at a time


WAYS = (
    Way("one run of two threads, active waiting", 2, "active"),
    Way("one run of two threads, passive waiting", 2, "passive"),
    Way("one run of one thread", 1, "active"),
    Way("two runs of one thread", 1, "active", runs=2),
)


@dataclass(frozen=True)
class Line:
    """A way, and the seconds of its median step."""

    way: Way
    alone: float
    beside: float

    def __str__(self) -> str:
        rate = self.way.runs / self.beside
        return (
            f"{self.way.name:<40} {1e3 * self.alone:7.1f} ms alone  {1e3 * self.beside:7.1f} ms "
            f"beside them (x{self.beside / self.alone:.2f}), {rate:6.1f} steps a second in all"
        )


@contextmanager
def trainers(way: Way, model: str, steps: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """The processes that train, ready to start."""
    command = [sys.executable, "-m", __name__, model, str(way.threads), str(steps)]
    environment = {**os.environ, "OMP_WAIT_POLICY": way.policy, "OMP_NUM_THREADS": str(way.threads)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with ExitStack() as stack:
        found = [stack.enter_context(_process(command, environment)) for _ in range(way.runs)]
        for process in found:
            _line(process)
        yield found


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that use a core each."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_process([sys.executable, "-c", _COUNT], None))
        yield


@contextmanager
def _process(
    command: Sequence[str], environment: dict[str, str] | None
) -> Iterator["subprocess.Popen[str]"]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise click.ClickException("a process that trains has ended; its output says why")
    return line


def step_s(processes: Sequence["subprocess.Popen[str]"]) -> float:
    """Seconds of the median step of processes that take their steps at the same time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return fmean(median(json.loads(_line(process))[WARMUP:]) for process in processes)


def measured(way: Way, model: str, steps: int, count: int) -> Line:
    """A way alone, and beside ``count`` busy processes."""
    with trainers(way, model, steps) as processes:
        alone = step_s(processes)
        with neighbours(count):
            return Line(way, alone, step_s(processes))


@click.command()
@click.option("--model", default="diffusion/dit", show_default=True, metavar="DOMAIN/MODEL")
@click.option("--steps", default=20, show_default=True, help="Measured of each.")
@click.option("--neighbours", "count", default=2, show_default=True, help="Busy processes.")
def busy(model: str, steps: int, count: int) -> None:
    """Print the time of a step alone and beside busy processes."""
    click.echo(f"{model}, a step beside {count} busy processes")
    for way in WAYS:
        click.echo(str(measured(way, model, WARMUP + steps, count)))


def _train(model: str, threads: int, steps: int) -> None:
    """The main function of a process that trains: as many steps for each line that it reads."""
    import torch

    from dyt_bench.discovery.domains import discover
    from dyt_bench.discovery.resolve import resolve
    from dyt_bench.plugin.task import Run, Task
    from dyt_bench.training.step import timed_step

    torch.set_num_threads(threads)
    domain, _, name = model.partition("/")
    offered = discover().domain(domain)
    about = offered.models[name]
    task = Task(
        domain=domain,
        model=name,
        dataset=next(iter(offered.datasets)),
        steps=about.steps,
        batch_size=about.batch_size,
        learning_rate=about.learning_rate,
        training=about.training,
        val_every=about.steps,
    )
    timed = timed_step(resolve(Run(task=task)))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps([timed() for _ in range(steps)]), flush=True)


if __name__ == "__main__":
    _train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
