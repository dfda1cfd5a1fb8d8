"""Compares ways to start a model with DyT: native norms, plain swap, `dyt.calibrate`, parts of it.

    nox -s calibration                                    three starts, one seed, about 10 minutes
    nox -s calibration -- --starts all --seeds 2          also every part of the start left out
    nox -s calibration -- --models hyena,llama --jobs 2   two models, two processes

Trains the six models of the suite `default` at their default budgets. Rows are kept in
.dyt-bench/calibration/rows.jsonl, by model, start, seed and steps: the same command resumes where
it stopped, and --fresh starts over. The report in results/calibration covers all rows at the
default budget; with --steps, only the rows are written.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch
from benchmarks.calibration.report import MAIN, table, write
from benchmarks.calibration.starts import STARTS
from benchmarks.calibration.train import Row, run, tasks
from rich.console import Console

from dyt_bench.plugin.task import Task
from dyt_bench.records.workspace import DEFAULT as WORKSPACE

ROWS = WORKSPACE / "calibration" / "rows.jsonl"
OUT = Path("results/calibration")
Key = tuple[str, str, int, int]


class Names(click.ParamType[tuple[str, ...]]):
    """Some of ``known``, separated by commas; "all" for all."""

    name = "names"

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)

    def convert(self, value: Any, *_: object) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = self.known if value == "all" else tuple(value.split(","))
        for name in names:
            if name not in self.known:
                self.fail(f"{name!r} is none of {', '.join(self.known)}")
        return names


def read(path: Path) -> dict[Key, Row]:
    """Rows of earlier runs, the latest for each key; lines that are no rows are left out."""
    rows: dict[Key, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = Row(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        rows[key(row)] = row
    return rows


def key(row: Row) -> Key:
    return row.model, row.start, row.seed, row.steps


def compute(wanted: Sequence[tuple[Task, str]], jobs: int) -> Iterator[Row]:
    """Train tasks with starts, in processes if ``jobs`` is more than one; yields finished rows."""
    threads = max(1, torch.get_num_threads() // jobs)
    if jobs == 1:
        yield from (run(task, name, threads) for task, name in wanted)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run, task, name, threads) for task, name in wanted]
        try:
            yield from (done.result() for done in as_completed(waiting))
        finally:  # at an error or Ctrl-C: what runs finishes, what waits is cancelled
            pool.shutdown(cancel_futures=True)


def keep(row: Row, path: Path) -> None:
    """Append the row to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


DEFAULT = tasks(1, None)


@click.command(help=(__doc__ or "").replace("\n    nox", "\n\n\b\n    nox", 1))
@click.option(
    "--models", type=Names([task.model for task in DEFAULT]), default="all", show_default=True
)
@click.option(
    "--starts",
    type=Names(list(STARTS)),
    default=",".join(MAIN),
    show_default=True,
    help=f"all, or some of {', '.join(STARTS)}.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="0, 1, ...")
@click.option("--steps", type=click.IntRange(1), help="In place of each model's budget.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--fresh", is_flag=True, help="Train everything again.")
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
def main(
    models: tuple[str, ...],
    starts: tuple[str, ...],
    seeds: int,
    steps: int | None,
    jobs: int,
    fresh: bool,
    as_json: bool,
) -> None:
    chosen = [task for task in tasks(seeds, steps) if task.model in models]
    wanted = {
        (f"{task.domain}/{task.model}", name, task.seed, task.steps): (task, name)
        for task in chosen
        for name in starts
        if task.model in (STARTS[name].models or models)
    }
    rows = read(ROWS)
    missing = [each for k, each in wanted.items() if fresh or k not in rows]
    console = Console(stderr=True)
    for count, row in enumerate(compute(missing, jobs), 1):
        keep(row, ROWS)
        rows[key(row)] = row
        value = "diverged" if row.value is None else f"{row.value:.4f}"
        console.print(
            f"{count}/{len(missing)} {row.model} {row.start} s{row.seed}: {value}", highlight=False
        )
    if as_json:
        print(json.dumps([asdict(rows[k]) for k in wanted], indent=1))
    else:
        Console().print(table([rows[k] for k in wanted]))
    if steps is None:
        budgets = {(f"{task.domain}/{task.model}", task.steps) for task in DEFAULT}
        write([row for row in rows.values() if (row.model, row.steps) in budgets], OUT)


if __name__ == "__main__":
    main()
