"""Which cases exceed the limit: DyT takes no longer than the layer that it replaces."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.kernels.layers import AA, DYT
from benchmarks.kernels.measure import Row

MOST = 1.15  # a limit beyond this is the machine's noise


@dataclass(frozen=True)
class Verdict:
    """A case, the ratio of DyT to LayerNorm, and the largest that is allowed."""

    case: str
    ratio: float
    at_most: float
    upper: float  # quartile of the ratio

    @property
    def judged(self) -> bool:
        """Whether the machine was quiet enough, or DyT so fast that noise does not hide it."""
        return self.at_most <= MOST or self.upper <= 1

    @property
    def kept(self) -> bool:
        return self.judged and self.ratio <= self.at_most


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """A verdict for each case: at most 1, and half of what A/A scatters between its quartiles."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case, {})[row.layer] = row
    return [
        Verdict(
            case,
            own[DYT].ratio,
            1 + (own[AA].ratio_q3 - own[AA].ratio_q1) / 2,
            own[DYT].ratio_q3,
        )
        for case, own in by_case.items()
    ]


def repeat(first: Sequence[Row], again: Sequence[Row]) -> list[Row]:
    """The rows of the first measurement, with those cases replaced that were measured again."""
    repeated = {row.case for row in again}
    return [*(row for row in first if row.case not in repeated), *again]
