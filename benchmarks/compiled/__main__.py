"""Time compiled models with their norms, with DyT as an operator or as a formula, and without.

All variants of a model are interleaved in one process, so that a slow moment of the machine slows
them alike. On a CPU the time is that of the process, on one thread: other processes then matter
through the caches alone.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from benchmarks.compiled.models import MODELS, NATIVE, VARIANTS, backend, build
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch._inductor import config, metrics
from torch._inductor.compile_fx import inductor_metrics_log

from dyt_bench.training.clock import interleave, now, quartiles

AA = "A/A"
PASSES = ("step", "inference")


@dataclass(frozen=True)
class Row:
    """One variant of one model, in training or in inference."""

    model: str
    pass_: str
    variant: str
    ms: float  # median
    ratio: float  # to the native norms: median of the rounds' ratios
    ratio_q1: float
    ratio_q3: float
    kernels: int  # that Inductor generated
    moved_mb: float  # that these read and write
    kept_mb: float  # for backward, without parameters
    compile_s: float


@dataclass(frozen=True)
class Compiled:
    """A call of a compiled variant, and what compiling it gave."""

    call: Callable[[], object]
    kernels: int
    moved_mb: float
    kept_mb: float
    compile_s: float


def compiled(model: str, variant: str, pass_: str) -> Compiled:
    """Compile a variant for one pass; a graph break raises."""
    module, x = build(model, variant)
    known = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}
    torch.compiler.reset()
    run = torch.compile(module, fullgraph=True)

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def call() -> None:
        with backend(variant, x.device):
            if pass_ == "step":
                run(x).backward()
            else:
                with torch.no_grad():
                    run(x)

    metrics.reset()
    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        call()
    seconds = time.perf_counter() - start
    moved, kernels = metrics.num_bytes_accessed / 1e6, metrics.generated_kernel_count
    return Compiled(call, kernels, moved, sum(kept.values()) / 1e6, seconds)


def measure(model: str, pass_: str, rounds: int) -> list[Row]:
    """A row for each variant, and for the native one against itself."""
    made = {variant: compiled(model, variant, pass_) for variant in VARIANTS}
    made[AA] = made[NATIVE]
    calls = {name: _timed(one.call) for name, one in made.items()}
    interleave(calls, rounds=2)
    seconds = interleave(calls, rounds=rounds)
    rows = []
    for name, own in seconds.items():
        pairs = zip(own, seconds[NATIVE], strict=True)
        low, middle, high = quartiles([a / b for a, b in pairs])
        one, ms = made[name], quartiles(own)[1] * 1e3
        facts = one.kernels, one.moved_mb, one.kept_mb, one.compile_s
        rows.append(Row(model, pass_, name, ms, middle, low, high, *facts))
    return rows


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    device = torch.accelerator.current_accelerator(check_available=True)

    def once() -> float:
        clock = time.process_time if device is None else lambda: now(device)
        start = clock()
        call()
        return clock() - start

    return once


def table(rows: list[Row]) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0))
    made.add_column("model")
    made.add_column("pass")
    made.add_column("variant", no_wrap=True)
    for column in ("ms", "x native", "[quartiles]", "kernels", "moved MB", "kept MB", "compile s"):
        made.add_column(escape(column), justify="right", no_wrap=True)
    for row in rows:
        made.add_row(
            row.model, row.pass_, row.variant, f"{row.ms:.1f}", f"{row.ratio:.3f}",
            escape(f"[{row.ratio_q1:.3f}, {row.ratio_q3:.3f}]"), str(row.kernels),
            f"{row.moved_mb:.1f}", f"{row.kept_mb:.1f}", f"{row.compile_s:.0f}",
        )  # fmt: skip
    return made


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--model", "models", type=click.Choice(list(MODELS)), multiple=True)
@click.option("--pass", "passes", type=click.Choice(PASSES), multiple=True, default=PASSES)
@click.option("--rounds", type=click.IntRange(5), default=40, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows.")
def main(models: tuple[str, ...], passes: tuple[str, ...], rounds: int, out: Path | None) -> None:
    torch.set_num_threads(1)
    # It counts bytes for this log alone; what is cached is not counted.
    inductor_metrics_log.setLevel(logging.INFO)
    inductor_metrics_log.propagate = False
    config.fx_graph_cache = False
    rows = []
    for model in models or MODELS:
        for pass_ in passes:
            own = measure(model, pass_, rounds)
            Console(width=120).print(table(own), "")
            rows += own
    if out:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=1)
        (out / "compiled.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
