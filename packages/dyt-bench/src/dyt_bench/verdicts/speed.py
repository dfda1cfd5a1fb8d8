"""Step times: ratios to the baseline over builds of the model, and one word for each.

The unit is the build: a model built anew lies elsewhere in memory, which changes its time by more
than its rounds tell. So rounds make one ratio, and builds make the interval.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from dyt_bench.plugin.task import AA
from dyt_bench.verdicts.statistics import CONFIDENCE

Speed = Literal["faster", "slower", "no difference"]

# Copies of one model differ in where their memory lies, and so in time: a ratio closer to 1 than
# this is never called a difference, however narrow its interval.
SMALLEST_CLAIM = 0.02
BUILDS_FROM = 3  # builds; with fewer there is a ratio, and no word


class Interval(NamedTuple):
    """A ratio with its 95 % interval, whose ends are NaN where one value is all there is."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedComparison:
    """A variant's step time over the baseline's, over builds."""

    ratio: Interval
    aa: Interval  # the baseline to its own second copy
    builds: int

    @property
    def floor(self) -> float:
        """The ratio above 1 from which on a difference is claimed."""
        return math.exp(max(abs(math.log(self.aa.middle)), math.log1p(SMALLEST_CLAIM)))

    @property
    def word(self) -> Speed:
        """What may be claimed: the whole interval has to lie beyond the floor."""
        if self.builds < BUILDS_FROM:
            return "no difference"
        if self.ratio.high < 1 / self.floor:
            return "faster"
        return "slower" if self.ratio.low > self.floor else "no difference"


def compare_speed(
    timings: Sequence[Mapping[str, Sequence[float]]], variant: str
) -> SpeedComparison:
    """Judge a variant's step time by interleaved rounds in several builds.

    Of a round: the logarithm of the variant's seconds over the geometric mean of those of the
    baseline's two copies (the first variant and "A/A"). Of a build: the median over its rounds, as
    a few steps are delayed by other processes. Over builds: mean and t-interval.

    Args:
        timings: of each build, which is a seed: variant label -> seconds of a step, by round.
    """
    builds = [_logs(seconds, variant) for seconds in timings]
    ratios = [statistics.median(own) for own, _ in builds]
    floor = [statistics.median(aa) for _, aa in builds]
    return SpeedComparison(_over_builds(ratios), _over_builds(floor), len(builds))


def step_time_ratios(seconds: Mapping[str, Sequence[float]], variant: str) -> dict[str, float]:
    """The ratio in one build as flat names, for a result's summary.

    ``time/step_ratio`` is the variant's ratio, ``time/aa_ratio`` that of the first variant to its
    copy; ``_low`` and ``_high`` are the ends of their 95 % intervals over rounds, which do not
    cover other builds. The first variant's own ratio is 1.
    """
    own, aa = _logs(seconds, variant)
    is_first = variant == next(label for label in seconds if label != AA)
    ratio = Interval(1.0, 1.0, 1.0) if is_first else _over_rounds(own)
    return {
        f"time/{name}{end}": value
        for name, interval in (("step_ratio", ratio), ("aa_ratio", _over_rounds(aa)))
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }


def geometric_mean(ratios: Sequence[float]) -> Interval:
    """exp of the mean logarithm with its t-interval; NaN bounds if there is one ratio only.

    Raises:
        ValueError: ``ratios`` is empty.
    """
    if not ratios:
        raise ValueError("the geometric mean of no ratios is not defined")
    return _over_builds([math.log(ratio) for ratio in ratios])


def _logs(seconds: Mapping[str, Sequence[float]], variant: str) -> tuple[list[float], list[float]]:
    """By round: log of the variant over the baseline, and of the baseline's copy over it."""
    first = seconds[next(label for label in seconds if label != AA)]
    rounds = list(zip(seconds[variant], first, seconds[AA], strict=True))
    ratios = [math.log(own) - math.log(a * b) / 2 for own, a, b in rounds]
    return ratios, [math.log(b / a) for _, a, b in rounds]


def _over_builds(logs: Sequence[float]) -> Interval:
    from scipy.special import stdtrit

    middle = statistics.fmean(logs)
    if len(logs) == 1:
        return Interval(math.exp(middle), math.nan, math.nan)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(*(math.exp(value) for value in (middle, middle - half, middle + half)))


def _over_rounds(logs: Sequence[float]) -> Interval:
    """Median of all pairwise means (Hodges-Lehmann), as a ratio, with the signed-rank interval."""
    import numpy as np

    i, j = np.triu_indices(len(logs))
    array = np.asarray(logs)
    means = np.sort((array[i] + array[j]) / 2)
    cut = max(_signed_rank_cut(len(logs)) - 1, 0)
    found = np.exp([np.median(means), means[cut], means[-1 - cut]])
    return Interval(*(float(value) for value in found))


@lru_cache
def _signed_rank_cut(n: int) -> int:
    """How many values of the signed-rank statistic make up a lower tail of (1 - CONFIDENCE) / 2."""
    import numpy as np

    chances = np.ones(1)
    for rank in range(1, n + 1):  # each rank is in the sum or not, with equal chances
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return int(np.searchsorted(np.cumsum(chances), (1 - CONFIDENCE) / 2, side="right"))
