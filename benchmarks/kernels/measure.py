"""Time the layers of one size and pass, interleaved."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from benchmarks.kernels.gate import ratio
from benchmarks.kernels.layers import COPY, LAYER_NORM, Call, fused_backend, layers
from torch import Tensor, nn

from dyt_bench.training.clock import interleave, now, quartiles

# Tokens by features, and ConvNeXt-T's first and third stage: (N, C, H, W).
SIZES = {
    "x".join(map(str, shape)): shape
    for shape in ((256, 192), (4096, 768), (8192, 4096), (16, 96, 56, 56), (16, 384, 14, 14))
}
PASSES = ("forward", "forward+backward", "inference")
DTYPES = ("float32", "bfloat16")
# Tensors that a pass must read or write once: x and y; backward also x, dy and dx.
MOVED = {"forward": 2, "forward+backward": 5, "inference": 2}
PATIENCE_S = 8.0  # for one size and pass: slow rounds are fewer, but at least 7
COMPILED = "4096x768"  # the size at which torch.compile takes part: it takes ten seconds a case
# Larger than any GPU's second-level cache; and, a thread, than any CPU core's.
FLUSH_GPU_BYTES, FLUSH_THREAD_BYTES = 256 << 20, 16 << 20


@dataclass(frozen=True)
class Row:
    """One layer at one size and pass."""

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
            self.start, self.end = (
                torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                for _ in range(2)
            )
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
        return float(self.start.elapsed_time(self.end)) / 1e3


def timed(clock: Clock, run: Call, module: nn.Module, x: Tensor, pass_: str) -> Callable[[], float]:
    """A call that runs the layer once on x and returns the seconds that this took."""
    gradient = torch.randn_like(x)

    def forward() -> None:
        run(x)

    def forward_backward() -> None:
        run(x).backward(gradient)  # type: ignore[no-untyped-call]

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
        return seconds + clock(lambda: y[0].backward(gradient))  # type: ignore[no-untyped-call]

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
    """Seconds by layer and round, and a row for each layer, of a size and pass."""
    shape, device = SIZES[size], clock.device
    x = torch.randn(shape, device=device, dtype=getattr(torch, dtype), requires_grad=True)
    made = layers(shape, device, x.dtype, compiled=compiled)
    calls = {name: timed(clock, run, module, x, pass_) for name, (run, module) in made.items()}
    if dtype != "float32":  # for the ratio of the two dtypes
        fused = f"DyT {fused_backend(device)}"
        wide = x.detach().float().requires_grad_()
        run, module = layers(shape, device, wide.dtype, compiled=False)[fused]
        calls[f"{fused} float32"] = timed(clock, run, module, wide, pass_)
    interleave(calls, rounds=1)  # compile and allocate
    warm = interleave(calls, rounds=2)
    round_s = sum(min(seconds) for seconds in warm.values())
    seconds = interleave(calls, rounds=max(7, min(rounds, int(PATIENCE_S / round_s))))
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
