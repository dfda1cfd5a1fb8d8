"""Time the layers against the norms they replace, and against copying the same bytes.

All arms of a size take turns in one process, so that a slow moment of the machine slows them
alike; every figure is a ratio to `Tensor.clone`, the least any layer can do: read once, write
once. The row A/A is that copy against itself: differences of its size mean nothing.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import matplotlib
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import dyt
from dyt_bench.measure import interleave, now, quartiles

# Tokens by features, and ConvNeXt-T's first and third stage: (N, C, H, W).
SIZES = ((256, 192), (4096, 768), (8192, 4096), (16, 96, 56, 56), (16, 384, 14, 14))
PASSES = ("forward", "forward+backward", "inference")
COPY, AA, LAYER_NORM, PUBLISHED = "clone", "A/A", "nn.LayerNorm", "published eager"
DTYPES = ("float32", "bfloat16", "float16")
# Tensors read or written once by the least a pass can do: x and y; then x, dy and dx as well.
MOVED = {"forward": 2, "forward+backward": 5, "inference": 2}

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One arm of one size and pass."""

    size: str
    dtype: str
    pass_: str
    layer: str
    ms: float  # median
    ratio: float  # to clone, median of the rounds' ratios
    ratio_q1: float
    ratio_q3: float
    gb_per_s: float  # of the bytes that a single pass must move
    kept_mb: float  # kept for backward, without x and the parameters


@dataclass(frozen=True)
class Limit:
    """A figure to reach: the ratio of two arms at one size."""

    size: str
    dtype: str
    pass_: str
    arm: str
    to: str
    at_most: float


LIMITS = (
    Limit("4096x768", "float32", "forward", "DyT native", COPY, 1.35),
    Limit("4096x768", "float32", "forward", "DyT native", LAYER_NORM, 0.75),
    Limit("4096x768", "float32", "forward+backward", "DyT native", LAYER_NORM, 0.8),
    Limit("4096x768", "float32", "forward+backward", "DyT native", PUBLISHED, 1 / 7),
    Limit("256x192", "float32", "forward+backward", "DyT native", LAYER_NORM, 1.3),
    Limit("4096x768", "float32", "forward", "Derf native", "DyT native", 1.3),
    Limit("4096x768", "float32", "forward+backward", "Derf native", "DyT native", 1.3),
)


class Published(nn.Module):
    """The formula as arXiv 2503.10622 prints it: three passes over memory."""

    def __init__(self, features: int, channels_last: bool) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        shape = (features,) if channels_last else (features, 1, 1)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.tanh(self.alpha * x) + self.bias


class ChannelsFirst(nn.Module):
    """A norm over the channels of (N, C, H, W), by moving them last and back."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


def with_backend(name: str, layer: nn.Module) -> Call:
    """The layer, computed by this backend."""

    def run(x: Tensor) -> Tensor:
        with dyt.use_backend(name):
            y: Tensor = layer(x)
            return y

    return run


def layers(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, compiled: bool
) -> dict[str, tuple[Call, nn.Module]]:
    """Name -> what to call, and the module whose parameters it uses."""
    last = len(shape) == 2
    features = shape[-1] if last else shape[1]
    fused = "triton" if device.type == "cuda" else "native"
    made: dict[str, tuple[Call, nn.Module]] = {}
    # The default backend on this device is fused, and called as a user would call it.
    dynamic_tanh = dyt.DynamicTanh(features, channels_last=last)
    made[f"DyT {fused}"] = dynamic_tanh, dynamic_tanh
    made["DyT eager"] = with_backend("eager", dynamic_tanh), dynamic_tanh
    derf = dyt.DynamicErf(features, channels_last=last)
    made[f"Derf {fused}"] = derf, derf
    published = Published(features, last)
    made[PUBLISHED] = published, published
    if compiled:
        made["published compiled"] = torch.compile(published), published
    norms = {LAYER_NORM: nn.LayerNorm(features), "nn.RMSNorm": nn.RMSNorm(features)}
    for name, norm in norms.items():
        module = norm if last else ChannelsFirst(norm)
        made[name] = module, module
    for _, module in made.values():
        module.to(device, dtype)
    return made


def arm(run: Call, module: nn.Module, x: Tensor, pass_: str) -> Callable[[], float]:
    """A call that runs the layer once on x and returns its seconds."""
    gradient, device = torch.randn_like(x), x.device

    def once() -> float:
        x.grad = None
        module.zero_grad(set_to_none=True)
        start = now(device)
        if pass_ == "inference":
            with torch.inference_mode():
                y = run(x)
        else:
            y = run(x)
        if pass_ == "forward+backward":
            y.backward(gradient)
        return now(device) - start

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
    shape: tuple[int, ...],
    pass_: str,
    rounds: int,
    device: torch.device,
    dtype: str,
    compiled: bool,
) -> list[Row]:
    """One row for each arm of a size and pass."""
    x = torch.randn(shape, device=device, dtype=getattr(torch, dtype), requires_grad=True)
    nothing = nn.Module()
    candidates: dict[str, tuple[Call, nn.Module]] = {
        COPY: (torch.clone, nothing),
        AA: (torch.clone, nothing),
        **layers(shape, device, x.dtype, compiled),
    }
    timed = {name: arm(run, module, x, pass_) for name, (run, module) in candidates.items()}
    interleave(timed, rounds=3)  # warm up
    seconds = interleave(timed, rounds=rounds)
    rows = []
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds[COPY], strict=True)]
        low, middle, high = quartiles(ratios)
        median = quartiles(own)[1]
        bytes_moved = MOVED[pass_] * x.numel() * x.element_size()
        kept = 0 if pass_ == "inference" else kept_bytes(*candidates[name], x)
        size = "x".join(map(str, shape))
        rate = bytes_moved / median / 1e9
        rows.append(
            Row(size, dtype, pass_, name, median * 1e3, middle, low, high, rate, kept / 1e6)
        )
    return rows


def table(rows: list[Row], title: str) -> Table:
    """The rows as a terminal table."""
    made = Table(title=title, box=None, title_justify="left", padding=(0, 2))
    for column in ("size", "type", "pass", "layer"):
        made.add_column(column)
    for column in ("ms", "x clone [quartiles]", "GB/s", "kept MB"):
        made.add_column(column, justify="right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        made.add_row(
            row.size,
            row.dtype,
            row.pass_,
            row.layer,
            f"{row.ms:.3f}",
            f"{row.ratio:.2f} [{row.ratio_q1:.2f}, {row.ratio_q3:.2f}]",
            f"{row.gb_per_s:.1f}",
            f"{row.kept_mb:.1f}",
            end_section=following is None or following.pass_ != row.pass_,
        )
    return made


def shortfalls(rows: list[Row]) -> list[str]:
    """Every figure to reach, of those measured, that is not reached."""
    ratios = {(row.size, row.dtype, row.pass_, row.layer): row.ratio for row in rows}
    short = []
    for limit in LIMITS:
        where = limit.size, limit.dtype, limit.pass_
        own, other = ratios.get((*where, limit.arm)), ratios.get((*where, limit.to))
        if own is not None and other is not None and own / other > limit.at_most:
            short.append(
                f"{limit.size} {limit.pass_}: {limit.arm} takes {own / other:.2f} x {limit.to}, "
                f"at most {limit.at_most:.2f} wanted"
            )
    short += [
        f"{row.size} {row.pass_}: {row.layer} keeps {row.kept_mb:.1f} MB for backward besides x"
        for row in rows
        if row.layer in ("DyT native", "DyT triton", "Derf native", "Derf triton") and row.kept_mb
    ]
    return short


def plot(rows: list[Row], out: Path) -> None:
    """Bars of the ratio to clone, one panel for each size and pass."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row.size, row.pass_) for row in rows))
    figure, axes = pyplot.subplots(
        -(-len(panels) // 3),
        min(3, len(panels)),
        figsize=(15, 3 * -(-len(panels) // 3)),
        squeeze=False,
        layout="constrained",
    )
    for axis, panel in zip(axes.flat, panels, strict=False):
        own = [row for row in rows if (row.size, row.pass_) == panel]
        axis.barh([row.layer for row in own], [row.ratio for row in own])
        axis.invert_yaxis()
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{panel[0]}, {panel[1]}")
        axis.set_xlabel("time, x clone")
    figure.savefig(out)
    pyplot.close(figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="measurements of each arm")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--sizes", nargs="+", help="only these, such as 4096x768")
    parser.add_argument("--compile", action="store_true", help="torch.compile of it: a minute")
    parser.add_argument("--json", action="store_true", help="print rows, for programs")
    parser.add_argument("--out", type=Path, help="folder for the rows and a plot")
    parser.add_argument("--gate", action="store_true", help="fail where a figure is not reached")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    known = {"x".join(map(str, shape)): shape for shape in SIZES}
    unknown = [size for size in options.sizes or () if size not in known]
    if unknown:
        parser.error(f"--sizes must be of {', '.join(known)}; got {', '.join(unknown)}")
    options.shapes = [known[size] for size in options.sizes or known]
    return options


def main() -> int:
    options = arguments()
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator or torch.device("cpu")
    run = partial(
        measure, rounds=options.rounds, device=device, dtype=options.dtype, compiled=options.compile
    )
    rows = [row for shape in options.shapes for pass_ in PASSES for row in run(shape, pass_)]
    encoded = json.dumps([asdict(row) for row in rows], indent=1)
    if options.json:
        print(encoded)
    else:
        threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
        Console().print(table(rows, f"{device.type}{threads}, medians"))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"modules-{options.dtype}.json").write_text(encoded + "\n")
        plot(rows, options.out / f"modules-{options.dtype}.svg")
    short = shortfalls(rows)
    for line in short if options.gate else ():
        print(f"falls short: {line}", file=sys.stderr)
    return 1 if options.gate and short else 0


if __name__ == "__main__":
    sys.exit(main())
