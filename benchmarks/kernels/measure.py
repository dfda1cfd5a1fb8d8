"""Time the layers of one case, interleaved."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from benchmarks.kernels.cases import BOTH, INFERENCE, TYPES, Case
from benchmarks.kernels.layers import LAYER_NORM, layers
from torch import Tensor, nn

from dyt_bench.training.clock import interleave, now, quartiles

# A round calls a layer so often that the clock's own time does not count, but another process
# seldom interrupts it.
ROUND_S = 3e-4
PATIENCE_S = 5.0  # for one case: slow rounds are fewer, but at least 7
# Larger than any GPU's second-level cache; and, a thread, than any CPU core's.
FLUSH_GPU_BYTES, FLUSH_THREAD_BYTES = 256 << 20, 16 << 20


@dataclass(frozen=True)
class Row:
    """One layer in one case."""

    case: str
    layer: str
    rounds: int
    us: float  # median
    ratio: float  # to LayerNorm, median of the rounds' ratios
    ratio_q1: float
    ratio_q3: float
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

    @property
    def repeats(self) -> bool:
        """Whether a call may be timed many times in a row, in caches that the last one filled."""
        return not self.cold and self.device.type == "cpu"


def timed(clock: Clock, layer: nn.Module, x: Tensor, pass_: str) -> Callable[[], float]:
    """A call that runs the layer on x and returns the seconds that one pass took."""
    gradient = torch.randn_like(x)
    leaves = (x, *layer.parameters())

    def clear() -> None:
        for leaf in leaves:
            leaf.grad = None

    def once() -> float:
        if pass_ == BOTH:
            clear()
            if not clock.cold:
                return clock(lambda: layer(x).backward(gradient))
            y: list[Tensor] = []
            seconds = clock(lambda: y.append(layer(x)))
            return seconds + clock(lambda: y[0].backward(gradient))  # type: ignore[no-untyped-call]
        with torch.inference_mode(pass_ == INFERENCE):
            return clock(lambda: layer(x))

    if not clock.repeats:
        return once
    once()
    times = max(1, int(ROUND_S / min(once() for _ in range(5))))

    def many() -> float:
        if pass_ == BOTH:

            def run() -> None:
                for _ in range(times):
                    layer(x).backward(gradient)
                    clear()
        else:

            def run() -> None:
                for _ in range(times):
                    layer(x)

        with torch.inference_mode(pass_ == INFERENCE):
            return clock(run) / times

    return many


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors saved for backward that are neither x nor a parameter."""
    known = {t.untyped_storage().data_ptr() for t in (x, *layer.parameters())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _y = layer(x)
    return sum(kept.values())


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(case: Case, *, rounds: int, clock: Clock) -> list[Row]:
    """A row for each layer of a case."""
    with threads(case.threads):
        dtype = getattr(torch, TYPES[case.types][0])
        x = torch.randn(case.shape, device=clock.device, dtype=dtype, requires_grad=True)
        made = layers(case, clock.device)
        calls = {name: timed(clock, layer, x, case.pass_) for name, layer in made.items()}
        warm = interleave(calls, rounds=2)
        round_s = sum(max(ROUND_S, min(seconds)) for seconds in warm.values())
        seconds = interleave(calls, rounds=max(7, min(rounds, int(PATIENCE_S / round_s))))
        rows = []
        for name, own in seconds.items():
            pairs = zip(own, seconds[LAYER_NORM], strict=True)
            low, middle, high = quartiles([a / b for a, b in pairs])
            kept = 0 if case.pass_ == INFERENCE else kept_bytes(made[name], x)
            us = quartiles(own)[1] * 1e6
            rows.append(Row(str(case), name, len(own), us, middle, low, high, kept / 1e6))
    return rows
