"""Time the layers against the norms they replace, and against copying the same bytes.

All arms of a size take turns in one process, so that a slow moment of the machine slows them
alike; every figure is a ratio to `Tensor.clone`, the least any layer can do: read once, write
once. The row A/A is that copy against itself: differences of its size mean nothing.

A GPU's cache is emptied before each call. A CPU's are with --cold, before the backward pass too:
so a layer in a model finds them, where much else ran since its input was last used.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from gate import Verdict, judge, ratio
from layers import COPY, LAYER_NORM, Call, fused_backend, layers
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import dyt
from dyt._kernels.cpu import launcher as native
from dyt_bench.records.workspace import DEFAULT as WORKSPACE
from dyt_bench.records.workspace import Workspace
from dyt_bench.training.clock import interleave, now, quartiles

# Tokens by features, and ConvNeXt-T's first and third stage: (N, C, H, W).
SIZES = {
    "x".join(map(str, shape)): shape
    for shape in ((256, 192), (4096, 768), (8192, 4096), (16, 96, 56, 56), (16, 384, 14, 14))
}
PASSES = ("forward", "forward+backward", "inference")
DTYPES = ("float32", "bfloat16")
# Tensors read or written once by the least a pass can do: x and y; then x, dy and dx as well.
MOVED = {"forward": 2, "forward+backward": 5, "inference": 2}
PATIENCE_S = 8.0  # for one size and pass: where a round is slow there are fewer, never below 7
COMPILED = "4096x768"  # the size at which torch.compile takes part: it takes ten seconds a case
# Larger than any GPU's second-level cache; and, a thread, than any CPU core's.
FLUSH_GPU_BYTES, FLUSH_THREAD_BYTES = 256 << 20, 16 << 20


@dataclass(frozen=True)
class Row:
    """One arm of one size and pass."""

    size: str
    dtype: str
    pass_: str
    layer: str
    rounds: int
    ms: float  # median
    ratio: float  # to clone, median of the rounds' ratios
    ratio_q1: float
    ratio_q3: float
    to_layer_norm: float
    gb_per_s: float  # of the bytes that a single pass must move
    kept_mb: float  # kept for backward, without x and the parameters


class Clock:
    """Seconds that a call takes on a device, its launch left out where the device has a queue."""

    def __init__(self, device: torch.device, *, cold: bool = False) -> None:
        self.device = device
        self.cold = cold and device.type == "cpu"
        size = FLUSH_THREAD_BYTES * torch.get_num_threads() if self.cold else 0
        if device.type == "cuda":
            self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            size = FLUSH_GPU_BYTES
        self.flush = torch.empty(size, dtype=torch.uint8, device=device)

    def __call__(self, run: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            self.flush.zero_()
            start = now(self.device)
            run()
            return now(self.device) - start
        self.flush.zero_()  # empties the cache, and keeps the GPU busy while the call is launched
        self.start.record()
        run()
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end) / 1e3


def arm(clock: Clock, run: Call, module: nn.Module, x: Tensor, pass_: str) -> Callable[[], float]:
    """A call that runs the layer once on x and returns its seconds."""
    gradient = torch.randn_like(x)

    def forward() -> None:
        run(x)

    def forward_backward() -> None:
        run(x).backward(gradient)

    def inference() -> None:
        with torch.inference_mode():
            run(x)

    call = dict(zip(PASSES, (forward, forward_backward, inference), strict=True))[pass_]

    def once() -> float:
        x.grad = None
        module.zero_grad(set_to_none=True)
        if not clock.cold or pass_ != "forward+backward":
            return clock(call)
        y: list[Tensor] = []
        seconds = clock(lambda: y.append(run(x)))
        return seconds + clock(lambda: y[0].backward(gradient))

    return once


def kept_bytes(run: Call, module: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors saved for backward that are neither x nor a parameter."""
    known = {t.untyped_storage().data_ptr() for t in (x, *module.parameters())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _y = run(x)
    return sum(kept.values())


def measure(
    size: str, dtype: str, pass_: str, *, rounds: int, clock: Clock, compiled: bool
) -> tuple[dict[str, list[float]], list[Row]]:
    """Seconds by arm and round, and one row for each arm, of a size and pass."""
    shape, device = SIZES[size], clock.device
    x = torch.randn(shape, device=device, dtype=getattr(torch, dtype), requires_grad=True)
    made = layers(shape, device, x.dtype, compiled=compiled)
    timed = {name: arm(clock, run, module, x, pass_) for name, (run, module) in made.items()}
    if dtype != "float32":  # for the ratio of the two types
        fused = f"DyT {fused_backend(device)}"
        wide = x.detach().float().requires_grad_()
        run, module = layers(shape, device, wide.dtype, compiled=False)[fused]
        timed[f"{fused} float32"] = arm(clock, run, module, wide, pass_)
    interleave(timed, rounds=1)  # compile and allocate
    warm = interleave(timed, rounds=2)
    round_s = sum(min(seconds) for seconds in warm.values())
    seconds = interleave(timed, rounds=max(7, min(rounds, int(PATIENCE_S / round_s))))
    bytes_moved = MOVED[pass_] * x.numel() * x.element_size()
    rows = []
    for name, own in seconds.items():
        low, middle, high = quartiles([a / b for a, b in zip(own, seconds[COPY], strict=True)])
        median = quartiles(own)[1]
        kept = kept_bytes(*made[name], x) if name in made and pass_ != "inference" else 0
        rows.append(
            Row(
                size, dtype, pass_, name, len(own), median * 1e3, middle, low, high,
                ratio(own, seconds[LAYER_NORM]), bytes_moved / median / 1e9, kept / 1e6,
            )
        )  # fmt: skip
    return seconds, rows


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """The rows as terminal tables, one for each size, type and pass."""
    for case in dict.fromkeys((row.size, row.dtype, row.pass_) for row in rows):
        made = Table(title=" ".join(case), box=None, title_justify="left", padding=(0, 1, 0, 0))
        made.add_column("layer", no_wrap=True, min_width=19)
        for column, width in (
            ("ms", 8), ("x clone", 7), ("[quartiles]", 16), ("x LN", 6), ("GB/s", 5),
            ("kept MB", 7),
        ):  # fmt: skip
            made.add_column(escape(column), justify="right", no_wrap=True, min_width=width)
        for row in rows:
            if (row.size, row.dtype, row.pass_) == case:
                made.add_row(
                    row.layer, f"{row.ms:.3f}", f"{row.ratio:.2f}",
                    escape(f"[{row.ratio_q1:.2f}, {row.ratio_q3:.2f}]"),
                    f"{row.to_layer_norm:.2f}", f"{row.gb_per_s:.1f}", f"{row.kept_mb:.1f}",
                )  # fmt: skip
        yield made


def verdicts(found: Sequence[Verdict]) -> Iterator[str]:
    """The figures to reach, a line each."""
    yield "to reach, on two threads:"
    for verdict in found:
        limit = verdict.limit
        word = "reached" if verdict.reached else "SHORT  "
        yield (
            f"  {word} {verdict.ratio:.3f} (at most {limit.at_most:.3f})  {limit.size} "
            f"{limit.dtype} {limit.pass_}: {limit.arm} to {limit.to}"
        )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of the ratio to clone, one panel for each size and pass."""
    import matplotlib
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row.size, row.pass_) for row in rows))
    width = len({pass_ for _, pass_ in panels})
    height = len(panels) // width
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False}):
        figure = Figure(figsize=(3.7 * width, 2.1 * height), layout="constrained")
        axes = figure.subplots(height, width, squeeze=False)
        for axis, panel in zip(axes.flat, panels, strict=True):
            own = [row for row in rows if (row.size, row.pass_) == panel]
            names = [row.layer for row in own]
            colours = ["#D55E00" if "DyT" in n or "Derf" in n else "#999999" for n in names]
            errors = [[r.ratio - r.ratio_q1 for r in own], [r.ratio_q3 - r.ratio for r in own]]
            axis.barh(names, [r.ratio for r in own], color=colours, xerr=errors, ecolor="black")
            axis.invert_yaxis()
            axis.set_xscale("log")
            axis.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
            axis.set_xticks([], minor=True)
            axis.set_xlim(0.5, max(12, *(r.ratio_q3 for r in own)) * 1.1)
            axis.axvline(1, color="black", linewidth=0.8)
            axis.set_title(" ".join(panel), loc="left")
        for axis in axes[-1]:
            axis.set_xlabel("time, ratio to copying x")
        figure.savefig(path)


def log(rows: Sequence[Row], clock: Clock, uri: str) -> None:
    """One MLflow run for each layer and type, in the experiment dyt-bench/kernels."""
    from dyt_bench.records.environment import fingerprint
    from dyt_bench.tracking import Tracker

    tracker = Tracker(uri, "dyt-bench/kernels", Workspace(WORKSPACE))
    tracker.connect()
    try:
        tags = {f"env.{key}": value for key, value in fingerprint().items()}
        for layer, dtype in dict.fromkeys((row.layer, row.dtype) for row in rows):
            own = [row for row in rows if (row.layer, row.dtype) == (layer, dtype)]
            metrics: dict[str, float] = {}
            for row in own:
                where = f"{row.pass_.replace('+', ' and ')}/{row.size}"
                metrics |= {
                    f"{where} x clone": row.ratio,
                    f"{where} ms": row.ms,
                    f"{where} kept MB": row.kept_mb,
                }
            params = {"layer": layer, "dtype": dtype, "device": clock.device.type}
            if clock.cold:
                params["caches"] = "cold"
            tracker.log_run(f"{layer} {dtype}", params, metrics, tags)
    finally:
        tracker.close()


def write(rows: Sequence[Row], clock: Clock, out: Path) -> None:
    """The rows as JSON, and a plot for each type."""
    out.mkdir(parents=True, exist_ok=True)
    for dtype in dict.fromkeys(row.dtype for row in rows):
        own = [row for row in rows if row.dtype == dtype]
        name = f"{clock.device.type}-{dtype}{'-cold' if clock.cold else ''}"
        text = json.dumps([asdict(row) for row in own], indent=1)
        (out / f"{name}.json").write_text(text + "\n")
        plot(own, out / f"{name}.png")


def describe(clock: Clock) -> str:
    device = clock.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kernels, binding = native.level() or "none", dyt.bind() or "compiled"
    threads = torch.get_num_threads()
    caches = ", cold caches" if clock.cold else ""
    return f"CPU, {threads} threads{caches}, native kernels: {kernels}, binding: {binding}"


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
@click.option("--gate", is_flag=True, help="Exit with status 1 where a figure is not reached.")
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
    where = describe(clock)  # binds the CPU's layers: what is timed is what a model would call
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
        for line in verdicts(found) if found else ():
            print(line)
    log(rows, clock, tracking_uri or Workspace(WORKSPACE).tracking_uri)
    whole = set(cases) == {(s, d, p) for s in SIZES for d in DTYPES for p in PASSES}
    if out or whole:
        write(rows, clock, out or Path("results/kernels"))
    if gate and not (found and all(verdict.reached for verdict in found)):
        sys.exit(1)


if __name__ == "__main__":
    main()
