"""Time DyT against the norms it replaces, the formula, and copying the same bytes.

All layers of a case are interleaved in one process, so that a slow moment of the machine slows them
alike. Every figure is a ratio to LayerNorm; A/A is LayerNorm against itself: differences of its
size mean nothing. On a CPU `dyt.bind()` is called first, as the harness does; --unbound leaves it
out, and takes a compiled binding only where the package was built with it.

A GPU's cache is emptied before each call. With --cold a CPU's caches are too, also before the
backward pass: a layer in a model finds them so, after all that ran since its input was last used.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
import torch
from benchmarks.kernels.cases import CASES, PASSES, TYPES, Case
from benchmarks.kernels.gate import judge, repeat
from benchmarks.kernels.measure import Clock, Row, measure
from benchmarks.kernels.results import describe, limits, log, table, write
from rich.console import Console
from rich.progress import track

import dyt
from dyt_bench.cli import options
from dyt_bench.records.workspace import DEFAULT as WORKSPACE
from dyt_bench.records.workspace import Workspace

SIZES = tuple(dict.fromkeys("x".join(map(str, case.shape)) for case in CASES))
REPEATS = 2  # of cases that exceed their limit: a busy moment of the machine is none of theirs


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--rounds", type=click.IntRange(7), default=61, show_default=True)
@click.option("--size", "sizes", type=click.Choice(SIZES), multiple=True, default=SIZES)
@click.option("--types", type=click.Choice(list(TYPES)), multiple=True, default=list(TYPES))
@click.option("--pass", "passes", type=click.Choice(PASSES), multiple=True, default=PASSES)
@click.option("--cold", is_flag=True, help="Empty a CPU's caches before each pass.")
@click.option("--gate", is_flag=True, help="Exit with status 1 where a limit is exceeded.")
@click.option("--unbound", is_flag=True, help="As where dyt.bind() was never called.")
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows and the picture.")
@options.tracking_uri
def main(
    rounds: int,
    sizes: tuple[str, ...],
    types: tuple[str, ...],
    passes: tuple[str, ...],
    cold: bool,
    gate: bool,
    unbound: bool,
    as_json: bool,
    out: Path | None,
    tracking_uri: str | None,
) -> None:
    if gate and cold:
        raise click.UsageError("--gate judges times with warm caches: leave out --cold.")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    clock = Clock(device, cold=cold)
    torch.manual_seed(0)
    if not unbound and device.type == "cpu" and (reason := dyt.bind()) is not None:
        Console(stderr=True).print(f"calls go through Python: {reason}", highlight=False)
    chosen = [
        case
        for case in CASES
        if "x".join(map(str, case.shape)) in sizes and case.types in types and case.pass_ in passes
    ]
    rows = _measure(chosen, rounds, clock)
    for _ in range(REPEATS if gate else 0):
        exceeded = {verdict.case for verdict in judge(rows) if not verdict.kept}
        again = [case for case in chosen if str(case) in exceeded]
        rows = repeat(rows, _measure(again, rounds, clock))
    found = [] if clock.cold else judge(rows)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(f"{describe(clock)}; medians of ratios by round\n", highlight=False)
        console.print(table(rows), "")
        for line in limits(found) if found else ():
            print(line)
    log(rows, clock, tracking_uri or Workspace(WORKSPACE).tracking_uri)
    if out:
        print(f"written to {write(rows, clock, out)}", file=sys.stderr)
    if gate and not (found and all(verdict.kept for verdict in found)):
        sys.exit(1)


def _measure(cases: list[Case], rounds: int, clock: Clock) -> list[Row]:
    rows = []
    for case in track(cases, "timing", console=Console(stderr=True), transient=True):
        rows += measure(case, rounds=rounds, clock=clock)
    return rows


if __name__ == "__main__":
    main()
