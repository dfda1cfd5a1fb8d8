"""How should a model with DyT start? Native norms, the plain swap, `dyt.calibrate`, its parts.

    nox -s calibration                                    three arms, one seed, about 10 minutes
    nox -s calibration -- --variants all --seeds 2        and every part of the start left out
    nox -s calibration -- --models hyena,llama --jobs 2   two models, two processes

Trains the six models of benchmarks/default.yaml at their default budgets. Rows are kept in
.dyt-bench/calibration/rows.jsonl, by model, variant, seed and steps: the same command goes on where
it stopped, and --fresh starts over. The report in results/calibration is of all rows at the default
budget; with --steps nothing is written but the rows.
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
from report import table, write
from rich.console import Console
from train import Row, run, tasks
from variants import VARIANTS

from dyt_bench.plugin.task import Task
from dyt_bench.records.workspace import DEFAULT as WORKSPACE

ROWS = WORKSPACE / "calibration" / "rows.jsonl"
OUT = Path("results/calibration")
ARMS = ("native", "plain", "calibrated")
Key = tuple[str, str, int, int]


class Names(click.ParamType):
    """Some of ``known``, with commas between; "all" for all."""

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
    """Rows of earlier runs, the latest of each kind; a line that was cut off is left out."""
    rows: dict[Key, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = Row(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        rows[key(row)] = row
    return rows


def key(row: Row) -> Key:
    return row.model, row.variant, row.seed, row.steps


def compute(cells: Sequence[tuple[Task, str]], jobs: int) -> Iterator[Row]:
    """Train the cells, in processes if ``jobs`` is more than one; rows as they come."""
    threads = max(1, torch.get_num_threads() // jobs)
    if jobs == 1:
        yield from (run(task, name, threads) for task, name in cells)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run, task, name, threads) for task, name in cells]
        try:
            yield from (done.result() for done in as_completed(waiting))
        finally:  # at an error or Ctrl-C: what runs ends, what waits does not begin
            pool.shutdown(cancel_futures=True)


def keep(row: Row, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


DEFAULT = tasks(1, None)


@click.command(help=(__doc__ or "").replace("\n    nox", "\n\n\b\n    nox", 1))
@click.option(
    "--models", type=Names([task.model for task in DEFAULT]), default="all", show_default=True
)
@click.option(
    "--variants",
    type=Names(list(VARIANTS)),
    default=",".join(ARMS),
    show_default=True,
    help=f"all, or some of {', '.join(VARIANTS)}.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="0, 1, ...")
@click.option("--steps", type=click.IntRange(1), help="In place of each model's budget.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--fresh", is_flag=True, help="Train again what is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
def main(
    models: tuple[str, ...],
    variants: tuple[str, ...],
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
        for name in variants
        if task.model in (VARIANTS[name].models or models)
    }
    rows = read(ROWS)
    cells = [cell for k, cell in wanted.items() if fresh or k not in rows]
    console = Console(stderr=True)
    for count, row in enumerate(compute(cells, jobs), 1):
        keep(row, ROWS)
        rows[key(row)] = row
        value = "diverged" if row.value is None else f"{row.value:.4f}"
        console.print(
            f"{count}/{len(cells)} {row.model} {row.variant} s{row.seed}: {value}", highlight=False
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
