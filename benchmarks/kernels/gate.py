"""The figures that the fused layers are to reach on a CPU with two threads, and who falls short."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from layers import COPY, LAYER_NORM, PUBLISHED

# (size, dtype, pass) -> arm -> seconds by round
Timings = Mapping[tuple[str, str, str], Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Limit:
    """The ratio of two arms that take turns: the median over rounds, and what it may be."""

    size: str
    dtype: str
    pass_: str
    arm: str
    to: str
    at_most: float


BOTH = "forward+backward"
LIMITS = (
    Limit("4096x768", "float32", "forward", "DyT native", COPY, 1.35),
    Limit("4096x768", "float32", "forward", "DyT native", LAYER_NORM, 0.75),
    Limit("4096x768", "float32", BOTH, "DyT native", LAYER_NORM, 0.8),
    Limit("4096x768", "float32", BOTH, "DyT native", PUBLISHED, 1 / 7),
    Limit("256x192", "float32", BOTH, "DyT native", LAYER_NORM, 1.3),
    Limit("4096x768", "float32", "forward", "Derf native", "DyT native", 1.3),
    Limit("4096x768", "float32", BOTH, "Derf native", "DyT native", 1.3),
    Limit("4096x768", "bfloat16", "forward", "DyT native", "DyT native float32", 1.0),
    Limit("4096x768", "bfloat16", BOTH, "DyT native", "DyT native float32", 1.0),
    Limit("8192x4096", "bfloat16", "forward", "DyT native", "DyT native float32", 1.0),
    Limit("8192x4096", "bfloat16", BOTH, "DyT native", "DyT native float32", 1.0),
)


@dataclass(frozen=True)
class Verdict:
    limit: Limit
    ratio: float

    @property
    def reached(self) -> bool:
        return self.ratio <= self.limit.at_most


def judge(timings: Timings) -> list[Verdict]:
    """The limits that can be judged by what was measured."""
    found = []
    for limit in LIMITS:
        arms = timings.get((limit.size, limit.dtype, limit.pass_), {})
        if limit.arm in arms and limit.to in arms:
            found.append(Verdict(limit, ratio(arms[limit.arm], arms[limit.to])))
    return found


def ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """The median over rounds."""
    return median(a / b for a, b in zip(own, other, strict=True))
