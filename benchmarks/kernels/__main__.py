"""Time the layers against the norms they replace, and against copying the same bytes.

All layers of a size are interleaved in one process, so that a slow moment of the machine slows them
alike. Every figure is a ratio to `Tensor.clone`, the least that any layer can do: read once, write
once. The row A/A is that copy against itself: differences of its size mean nothing.

A GPU's cache is emptied before each call. With --cold a CPU's caches are too, also before the
backward pass: a layer in a model finds them so, after all that ran since its input was last used.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch
from benchmarks.kernels.gate import judge
from benchmarks.kernels.measure import COMPILED, DTYPES, PASSES, SIZES, Clock, Row, measure
from benchmarks.kernels.results import describe, limits, log, tables, write
from rich.console import Console
from rich.progress import track

from dyt_bench.records.workspace import DEFAULT as WORKSPACE
from dyt_bench.records.workspace import Workspace


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--rounds", type=click.IntRange(7), default=25, show_default=True)
@click.option("--dtype", "dtypes", type=click.Choice(DTYPES), multiple=True, default=DTYPES)
@click.option("--size", "sizes", type=click.Choice(list(SIZES)), multiple=True, default=list(SIZES))
@click.option("--pass", "passes", type=click.Choice(PASSES), multiple=True, default=PASSES)
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=True,
    help=f"Compile the published form, at {COMPILED}.",
)
@click.option("--cold", is_flag=True, help="Empty a CPU's caches before each pass.")
@click.option("--gate", is_flag=True, help="Exit with status 1 where a limit is exceeded.")
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows and plots.")
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
def main(
    rounds: int,
    dtypes: tuple[str, ...],
    sizes: tuple[str, ...],
    passes: tuple[str, ...],
    compiled: bool,
    cold: bool,
    gate: bool,
    as_json: bool,
    out: Path | None,
    tracking_uri: str | None,
) -> None:
    if gate and cold:
        raise click.UsageError("--gate judges times with warm caches: leave out --cold.")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    clock = Clock(device, cold=cold)
    where = describe(clock)
    torch.manual_seed(0)
    cases = [(size, dtype, pass_) for dtype in dtypes for size in sizes for pass_ in passes]
    timings: dict[tuple[str, str, str], Mapping[str, Sequence[float]]] = {}
    rows: list[Row] = []
    for case in track(cases, "timing", console=Console(stderr=True), transient=True):
        torch.compiler.reset()
        with_compiled = compiled and case[0] == COMPILED
        timings[case], own = measure(*case, rounds=rounds, clock=clock, compiled=with_compiled)
        rows += own
    found = [] if clock.cold else judge(timings)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        console = Console()
        console.print(f"{where}; medians, ratios by round\n", highlight=False)
        for one in tables(rows):
            console.print(one, "")
        for line in limits(found) if found else ():
            print(line)
    log(rows, clock, tracking_uri or Workspace(WORKSPACE).tracking_uri)
    whole = set(cases) == {(s, d, p) for s in SIZES for d in DTYPES for p in PASSES}
    if out or whole:
        write(rows, clock, out or Path("results/kernels"))
    if gate and not (found and all(verdict.kept for verdict in found)):
        sys.exit(1)


if __name__ == "__main__":
    main()
