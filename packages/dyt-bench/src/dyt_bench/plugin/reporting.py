"""What a section of the report is given: runs, standings and looks, as protocols.

The harness passes objects of its own that have at least these attributes; all are read-only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dyt_bench.plugin.domain import Metric

__all__ = [
    "CollectedComparison",
    "CollectedGroup",
    "CollectedResult",
    "CollectedRun",
    "CollectedSpeed",
    "CollectedStanding",
    "Look",
]


@dataclass(frozen=True)
class Look:
    """A variant's colour and marker in the report's figures, as matplotlib takes them."""

    colour: str
    marker: str


class CollectedGroup(Protocol):
    """A task without its seed: what runs of all variants and seeds have in common."""

    @property
    def domain(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


class CollectedResult(Protocol):
    """How a run ended. The mappings go from a metric's or a layer's name to a value."""

    @property
    def status(self) -> str:
        """finished, diverged or failed."""

    @property
    def reason(self) -> str:
        """Why it did not finish; empty if it did."""

    @property
    def first(self) -> Mapping[str, float]:
        """The validation before training."""

    @property
    def best(self) -> Mapping[str, float]:
        """The validation at which the domain's metric was best."""

    @property
    def last(self) -> Mapping[str, float]:
        """The validation at the end of the budget; empty if the run did not get there."""

    @property
    def summary(self) -> Mapping[str, float]:
        """Numbers about the whole run: ``time/step_ms_median``, ``eval/<metric>``."""

    @property
    def alpha(self) -> Mapping[str, float]:
        """Layer -> alpha at the end."""

    @property
    def saturation(self) -> Mapping[str, float]:
        """Layer -> share of its inputs that are saturated at the end."""


class CollectedRun(Protocol):
    """A run that has ended."""

    @property
    def group(self) -> CollectedGroup: ...
    @property
    def variant(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def identity(self) -> str: ...
    @property
    def result(self) -> CollectedResult: ...
    @property
    def is_judged(self) -> bool:
        """Whether verdicts take the run into account."""

    @property
    def rows(self) -> Sequence[Mapping[str, float]]:
        """All that was logged, each row with its ``step`` and ``time``."""

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """The metric's points, (step, value), in the order in which they were logged."""


class CollectedComparison(Protocol):
    """A variant against the baseline, paired by seed."""

    @property
    def seeds(self) -> int: ...
    @property
    def gain(self) -> float:
        """Mean over seeds in the metric's unit; positive where the variant is better."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the gain; None from one seed."""

    @property
    def verdict(self) -> str:
        """better, worse, equivalent, undetermined, too little learned or still learning."""


class CollectedSpeed(Protocol):
    """A variant's step time over the baseline's."""

    @property
    def ratio(self) -> tuple[float, float, float]:
        """The ratio, and both ends of its 95 % interval."""

    @property
    def word(self) -> str:
        """faster, slower or no difference."""


class CollectedStanding(Protocol):
    """A variant against the baseline in one group."""

    @property
    def group(self) -> CollectedGroup: ...
    @property
    def name(self) -> str:
        """Of the group: ``vision/vit``."""

    @property
    def variant(self) -> str: ...
    @property
    def metric(self) -> Metric: ...
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def baseline_last(self) -> float:
        """Mean over seeds of the baseline's metric at the end of the budget."""

    @property
    def variant_last(self) -> float:
        """The same of the variant's."""

    @property
    def comparison(self) -> CollectedComparison:
        """By the metric at the end of the budget."""

    @property
    def best(self) -> CollectedComparison:
        """By each run's own best validation."""

    @property
    def speed(self) -> CollectedSpeed | None:
        """None if the group was not timed."""
