"""The limits on the fused layers' times on a CPU with two threads, and which are exceeded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.kernels.layers import COPY, LAYER_NORM, PUBLISHED

# (size, dtype, pass) -> layer -> seconds by round
Timings = Mapping[tuple[str, str, str], Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Limit:
    """The largest ratio of the times of two layers, as the median over rounds."""

    size: str
    dtype: str
    pass_: str
    layer: str
    to: str
    at_most: float


BOTH = "forward+backward"
LIMITS = (
    Limit("4096x768", "float32", "forward", "DyT cpu", COPY, 1.35),
    Limit("4096x768", "float32", "forward", "DyT cpu", LAYER_NORM, 0.75),
    Limit("4096x768", "float32", BOTH, "DyT cpu", LAYER_NORM, 0.8),
    Limit("4096x768", "float32", BOTH, "DyT cpu", PUBLISHED, 1 / 7),
    Limit("256x192", "float32", BOTH, "DyT cpu", LAYER_NORM, 1.3),
    Limit("4096x768", "float32", "forward", "Derf cpu", "DyT cpu", 1.3),
    Limit("4096x768", "float32", BOTH, "Derf cpu", "DyT cpu", 1.3),
    Limit("4096x768", "bfloat16", "forward", "DyT cpu", "DyT cpu float32", 1.0),
    Limit("4096x768", "bfloat16", BOTH, "DyT cpu", "DyT cpu float32", 1.0),
    Limit("8192x4096", "bfloat16", "forward", "DyT cpu", "DyT cpu float32", 1.0),
    Limit("8192x4096", "bfloat16", BOTH, "DyT cpu", "DyT cpu float32", 1.0),
)


@dataclass(frozen=True)
class Verdict:
    """A limit and the ratio that was measured."""

    limit: Limit
    ratio: float

    @property
    def kept(self) -> bool:
        return self.ratio <= self.limit.at_most


def judge(timings: Timings) -> list[Verdict]:
    """The limits whose layers were both measured."""
    found = []
    for limit in LIMITS:
        layers = timings.get((limit.size, limit.dtype, limit.pass_), {})
        if limit.layer in layers and limit.to in layers:
            found.append(Verdict(limit, ratio(layers[limit.layer], layers[limit.to])))
    return found


def ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios by round."""
    return median(a / b for a, b in zip(own, other, strict=True))
