"""The cases that are timed: shapes, types, passes and threads. The gate judges all of them."""

from dataclasses import dataclass
from itertools import product

FORWARD, BOTH, INFERENCE = PASSES = ("forward", "forward+backward", "inference")
# Type of x, and of the parameters.
TYPES = {
    "fp32": ("float32", "float32"),
    "bf16": ("bfloat16", "bfloat16"),
    "mixed": ("bfloat16", "float32"),
}


@dataclass(frozen=True)
class Case:
    """One row of the table. Two dimensions: rows by features; four: images, (N, C, H, W)."""

    shape: tuple[int, ...]
    types: str
    pass_: str
    threads: int = 1

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} {self.types} {self.pass_}, {self.threads}T"

    @property
    def features(self) -> int:
        return self.shape[-1] if self.channels_last else self.shape[1]

    @property
    def channels_last(self) -> bool:
        return len(self.shape) == 2


def _cases(
    shapes: list[tuple[int, ...]], passes: list[str], types: list[str], threads: int = 1
) -> list[Case]:
    return [Case(*one, threads) for one in product(shapes, types, passes)]


# A token at a time, and eight, as a language model is served.
_DECODE: list[tuple[int, ...]] = [(1, 768), (1, 2048), (1, 4096), (1, 8192), (8, 768), (8, 4096)]
# Where the call costs as much as the arithmetic; widths of 3 * 2^k and odd ones among them.
_SMALL: list[tuple[int, ...]] = [(256, 64), (333, 127), (256, 192), (64, 768), (16, 6144)]
_LARGE: list[tuple[int, ...]] = [(8192, 192), (2048, 1001), (4096, 768), (1024, 4096)]
_IMAGES: list[tuple[int, ...]] = [(16, 96, 56, 56), (16, 384, 14, 14)]

CASES: tuple[Case, ...] = (
    *_cases(_DECODE, [INFERENCE], list(TYPES)),
    *_cases(_SMALL, [BOTH], list(TYPES)),
    *_cases(_SMALL[2:4], [FORWARD], list(TYPES)),
    *_cases(_LARGE, [FORWARD, BOTH], ["fp32", "bf16"]),
    *_cases(_IMAGES, [BOTH], ["fp32"]),
    *_cases([(256, 192), (4096, 768)], [FORWARD, BOTH], ["fp32"], threads=2),
)
