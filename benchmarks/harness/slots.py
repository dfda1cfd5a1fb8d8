"""Measures the training phase of a suite, one run at a time and two, each on one thread.

A phase lasts from the first run's start to the last one's end, evaluations included. Both are
measured in turn, in workspaces of their own, and the results are compared to the bit.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from io import StringIO
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from benchmarks.harness.scale import Unseen
from rich.console import Console

from dyt_bench.discovery.domains import Discovery, discover
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.runner import How, Runner
from dyt_bench.suite.expand import Selection, Suite, load_suite

SUITE = Path(__file__).with_suffix(".yaml")
LIMIT = 1.6  # times faster
JOBS = (1, 2)

Numbers = Mapping[str, Any]  # label of a run -> what it computed


def trained(suite: Suite, found: Discovery, jobs: int, folder: Path) -> tuple[float, Numbers]:
    """Seconds of the training phase, and what the runs computed."""
    workspace, seen = Workspace(folder), Unseen()
    metrics = {run.task.domain: found.metric(run.task.domain).name for run in suite.runs}
    board = Board(Console(file=StringIO()), suite.runs, metrics)
    with workspace.opened():
        tracker: Any = seen
        how = How(jobs=jobs, threads=1)
        runner = Runner(suite, workspace, tracker, board, found, how)
        start = time.monotonic()
        ended = list(islice(runner.run(), len(suite.runs)))  # timings would come next
        seconds = time.monotonic() - start
        failed = [result.reason for _, result in ended if result.status == "failed"]
        if failed:
            raise click.ClickException(failed[0])
        return seconds, {run.label: numbers(workspace.record(run).rows()) for run, _ in ended}


def numbers(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows without times, and without what the machine did."""
    kept = ("train/", "val/", "alpha/", "saturation/")
    return [
        {name: value for name, value in row.items() if name == "step" or name.startswith(kept)}
        for row in rows
    ]


def differing(one: Numbers, other: Numbers) -> list[str]:
    """Labels of the runs that did not compute the same."""
    labels = {*one, *other}
    return sorted(label for label in labels if one.get(label) != other.get(label))


@click.command()
@click.option("--steps", default=60, show_default=True, help="Of a run.")
@click.option("--seeds", default=3, show_default=True, help="Eight runs each.")
@click.option("--rounds", default=2, show_default=True, help="Of one slot and two, in turn.")
@click.option("--models", default="", help="Some of the suite's, with commas between them.")
@click.option("--gate", is_flag=True, help=f"Exit with 1 below {LIMIT} times, or if bits differ.")
def slots(steps: int, seeds: int, rounds: int, models: str, gate: bool) -> None:
    """Print how much faster two slots train a suite than one."""
    found = discover()
    chosen = tuple(name for name in models.split(",") if name)
    suite = load_suite(SUITE, found, Selection(steps=steps, seeds=seeds, models=chosen))
    seconds: dict[int, list[float]] = {jobs: [] for jobs in JOBS}
    computed: list[Numbers] = []
    with tempfile.TemporaryDirectory() as temporary:
        # The libraries are imported once, for all rounds.
        warm = load_suite(SUITE, found, Selection(steps=1, seeds=1, models=("vit",)))
        trained(warm, found, 1, Path(temporary) / "warm")
        for number in range(rounds):
            for jobs in JOBS if number % 2 == 0 else reversed(JOBS):
                folder = Path(temporary) / f"{number}-{jobs}"
                spent, own = trained(suite, found, jobs, folder)
                seconds[jobs].append(spent)
                computed.append(own)
                click.echo(f"{len(suite.runs)} runs, {jobs} at a time: {spent:.1f} s")
    one, two = (fmean(seconds[jobs]) for jobs in JOBS)
    click.echo(f"two slots train {one / two:.2f} times as fast as one")
    wrong = [label for own in computed[1:] for label in differing(computed[0], own)]
    same = "to the bit the same" if not wrong else f"not the same: {', '.join(sorted({*wrong}))}"
    click.echo(f"the {len(computed)} results are {same}")
    if gate and (wrong or one / two < LIMIT):
        sys.exit(1)
