"""Measures the planner on thousands of runs that train nothing, a thousand at a time.

A stub executor keeps every slot busy for a second a run. All else is real: records, timings, the
board, and MLflow where it is asked for. Processor time and memory are those of the planning
process, but for the time of the thread that sends to MLflow, which nothing waits for. That thread
shares the interpreter and the disk, so that the rest takes more time beside it: the limit of
processor time is for planning alone. How far MLflow is behind is wall time from the last run's end.
"""

import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.executors.contract import Event, Job, Limits
from dyt_bench.executors.slots import Slot
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.runner import How, Runner
from dyt_bench.suite.expand import Suite
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.tracker import SENDER

LIMIT_MS = 5.0  # of the planner's processor time a run
BEHIND_S = 0.1  # of wall time a run, for MLflow after the last one has ended
GROWTH = 1.5  # most memory a run at all runs, over that at a quarter of them
RUN_S = 1.0  # that the stub keeps a slot
DOMAIN = "llm"
VARIANTS = (Variant(), Variant(name="dyt"))


_METRIC = discover().metric(DOMAIN).name


class StubExecutor:
    """Trains nothing: a run writes one row and ends after `RUN_S`."""

    def __init__(self, preload: Sequence[str]) -> None:
        pass

    def slots(self, jobs: int | None, threads: int | None) -> Sequence[Slot]:
        return [Slot(threads)] * (jobs or 1)

    @contextmanager
    def run(self, job: Job, log: Path, limits: Limits | None = None) -> Iterator[Iterator[Event]]:
        of, record = _inner(job)
        if isinstance(of, Task):  # a task to time
            labels = [*(variant.label for variant in VARIANTS), AA]
            yield iter([{"event": "outcome", "value": {label: [1.0, 1.1] for label in labels}}])
            return
        at = {"step": float(of.task.steps), _METRIC: 1.0}
        record.append(of.task.steps, {_METRIC: 1.0})
        result = Result(status="finished", started=1.0, ended=2.0, first=at, best=at, last=at)
        time.sleep(RUN_S)
        row = {"event": "row", "step": of.task.steps, "metrics": {_METRIC: 1.0}}
        yield iter([row, {"event": "outcome", "value": result}])


def _inner(job: Any) -> tuple[Any, Any]:
    """What a slot's job is of, and its record: both are arguments of partial functions."""
    _, own = job.args
    return own.args[0], own.args[1]


class Unseen:
    """MLflow that takes everything at once."""

    def follow(self, record: Any) -> None: ...


@dataclass(frozen=True)
class Scaled:
    """What planning so many runs took."""

    runs: int
    cpu_ms: float  # a run
    wall_s: float
    memory_kib: float  # a run
    behind_s: float | None  # MLflow, after the last run; None: not measured


def made_up(runs: int) -> Suite:
    """A suite of so many runs, in tasks of two variants."""
    tasks = [
        Task(
            domain=DOMAIN,
            model="llama",
            dataset="made-up",
            seed=seed,
            steps=10,
            batch_size=4,
            learning_rate=1e-3,
            val_every=10,
        )
        for seed in range(runs // len(VARIANTS))
    ]
    every = tuple(Run(task=task, variant=variant) for task in tasks for variant in VARIANTS)
    return Suite("scale", "Scale", "training", every, executor="stub")


def planned(runs: int, slots: int, folder: Path, *, mlflow: bool) -> Scaled:
    """Plan so many runs in a workspace of their own."""
    EXECUTORS.own["stub"] = f"{__name__}:StubExecutor"  # type: ignore[index]
    suite, found = made_up(runs), discover()
    workspace = Workspace(folder / f"work-{runs}")
    tracker: Any = Unseen()
    if mlflow:
        tracker = Tracker(workspace.tracking_uri, "dyt-bench/scale", workspace)
        tracker.connect()
    board = Board(Console(file=StringIO()), suite.runs, {DOMAIN: _METRIC})
    before, memory = _planning_s(), _memory_kib()
    start = time.monotonic()
    with workspace.opened():
        runner = Runner(suite, workspace, tracker, board, found, How(jobs=slots, threads=1))
        ended = sum(1 for _ in runner.run())
    assert ended >= runs
    cpu, wall = _planning_s() - before, time.monotonic() - start
    grown = _memory_kib() - memory
    behind = None
    if mlflow:
        start = time.monotonic()
        tracker.close(patience_s=3600.0)
        behind = time.monotonic() - start
        assert tracker.problem is None, tracker.problem
    return Scaled(runs, 1e3 * cpu / runs, wall, grown / runs, behind)


def _planning_s() -> float:
    """Processor time of this process without that of the threads that send to MLflow."""
    senders = [thread for thread in threading.enumerate() if thread.name == SENDER]
    clocks = [time.pthread_getcpuclockid(thread.ident) for thread in senders if thread.ident]
    return time.process_time() - sum(time.clock_gettime(clock) for clock in clocks)


def _memory_kib() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def exceeded(quarter: Scaled, whole: Scaled) -> list[str]:
    """A sentence for each limit that is exceeded."""
    said = []
    if whole.behind_s is None and whole.cpu_ms > LIMIT_MS:
        said.append(f"a run takes {whole.cpu_ms:.1f} ms of the planner, over {LIMIT_MS:g}")
    grown = quarter.runs * quarter.memory_kib + whole.runs * whole.memory_kib
    if grown / whole.runs > GROWTH * max(quarter.memory_kib, 1.0):
        said.append("memory grows faster than the number of runs")
    for scaled in (quarter, whole):
        if scaled.behind_s is not None and scaled.behind_s > BEHIND_S * scaled.runs:
            said.append(f"MLflow is {scaled.behind_s:.0f} s behind after {scaled.runs} runs")
    return said


@click.command()
@click.option("--runs", default=10_000, show_default=True)
@click.option("--slots", default=1_000, show_default=True)
@click.option("--mlflow", is_flag=True, help="Mirror the runs to SQLite, and wait for it.")
@click.option("--gate", is_flag=True, help="Exit with 1 where a limit is exceeded.")
def scale(runs: int, slots: int, mlflow: bool, gate: bool) -> None:
    """Print what planning thousands of runs takes, and a quarter of them."""
    with tempfile.TemporaryDirectory() as folder:
        # The smaller one first: memory is a process's most.
        found = [planned(n, slots, Path(folder), mlflow=mlflow) for n in (runs // 4, runs)]
    for scaled in found:
        behind = "" if scaled.behind_s is None else f", MLflow {scaled.behind_s:.0f} s behind"
        click.echo(
            f"{scaled.runs:,} runs on {slots:,} slots: {scaled.cpu_ms:.2f} ms of processor time "
            f"a run, {scaled.wall_s:.0f} s in all, {scaled.memory_kib:.1f} KiB a run{behind}"
        )
    said = exceeded(*found)
    for sentence in said:
        click.echo(sentence)
    if gate and said:
        sys.exit(1)
