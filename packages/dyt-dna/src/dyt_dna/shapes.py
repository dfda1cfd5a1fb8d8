"""The architectures as numbers: small ones for two cores, and the published ones. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

STD = 0.02  # GPT-2's, of weights at the start


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An architecture at one size, as `dyt_dna.models` builds it."""

    family: Literal["hyena", "caduceus-ph", "caduceus-ps"]
    width: int
    depth: int
    length: int  # bases read at once
    std: float = STD  # of weights at the start

    @property
    def masked(self) -> bool:
        """Whether it predicts masked bases, reading both ways, rather than each next one."""
        return self.family != "hyena"


SHAPES: Mapping[str, Shape] = {
    # The released models' 0.02 shrinks a layer's output to a quarter of its input at this width. A
    # norm undoes that and DyT does not; with the native norm, both give the same loss.
    "hyena": Shape(family="hyena", width=128, depth=2, length=1024, std=128**-0.5),
    "hyena-w64": Shape(family="hyena", width=64, depth=2, length=128, std=64**-0.5),
    "hyena-std02": Shape(family="hyena", width=128, depth=2, length=1024),
    "caduceus": Shape(family="caduceus-ph", width=64, depth=2, length=256),
    "caduceus-ps": Shape(family="caduceus-ps", width=64, depth=2, length=256),
    "hyena-tiny-1k": Shape(family="hyena", width=128, depth=2, length=1024),
    # What arXiv 2503.10622 trains, by Caduceus' script.
    "hyena-w256-1k": Shape(family="hyena", width=256, depth=4, length=1024),
    "hyena-small-32k": Shape(family="hyena", width=256, depth=4, length=32_768),
    "hyena-medium-160k": Shape(family="hyena", width=256, depth=8, length=160_000),
    "caduceus-ph-1k": Shape(family="caduceus-ph", width=118, depth=4, length=1024),
    "caduceus-ps-1k": Shape(family="caduceus-ps", width=118, depth=4, length=1024),
    "caduceus-ph-131k": Shape(family="caduceus-ph", width=256, depth=16, length=131_072),
    "caduceus-ps-131k": Shape(family="caduceus-ps", width=256, depth=16, length=131_072),
}
