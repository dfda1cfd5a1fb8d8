"""Statistics of a comparison: paired effects, intervals, tests, and one word for the verdict.

Quality is paired by seed, step time by round. The choices below were made by simulation;
``tests/dyt_bench/verdicts/test_statistics.py`` repeats it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import AA

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Verdict = Literal["better", "worse", "equivalent", "undetermined"]
Speed = Literal["faster", "slower", "no difference"]

CONFIDENCE = 0.95
# Of five signs there are 32 patterns: the exact test cannot go below p = 1/16.
SIGN_FLIPS_FROM = 6  # seeds
_EXACT_BELOW = 14  # seeds; from there, as many patterns are drawn as 13 have
# A 95 % bootstrap interval covers the truth in 73 of 100 cases with three seeds, 84 with five and
# 88 with eight (normal differences; the t-interval: 95). It is reported from where it is useful.
BOOTSTRAP_FROM = 12  # seeds
POWER = 0.8  # chance of a verdict with `Comparison.seeds_needed` seeds
_SEEDS_SEARCHED = 200

# Copies of one model differ in where their memory lies, and so in time: a ratio closer to 1 than
# this is never called a difference, however narrow its interval.
SMALLEST_CLAIM = 0.02
# With five rounds no rank test reaches 95 %.
ROUNDS_FROM = 6
# The rounds of more seeds make the interval narrower than the smallest claim, which gains nothing,
# and the cost grows with the square of the rounds.
TIMED_SEEDS = 10


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline, paired by seed; gains are positive where it is better."""

    seeds: int
    gain: float  # mean over seeds, in the metric's unit
    interval: tuple[float, float] | None  # t-interval of the gain; None from one seed
    verdict: Verdict
    p: float | None = None  # exact two-sided sign-flip test; None below SIGN_FLIPS_FROM seeds
    bootstrap: tuple[float, float] | None = None  # BCa, 95 %; None below BOOTSTRAP_FROM seeds
    # How many seeds in total would decide. None: it is decided, or the number is not known, from
    # one seed or because more than 200 would be needed.
    seeds_needed: int | None = None


def compare(
    baseline: Sequence[float],
    variant: Sequence[float],
    metric: Metric,
    *,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Judge a variant by the metric's values, ``baseline[i]`` and ``variant[i]`` of one seed.

    The interval is the paired t-interval: with few seeds it is the one that has its nominal
    coverage. *equivalent*: all of it lies within the metric's margin; *better*, *worse*: it
    lies on one side of zero, and from six seeds on the sign-flip test, which assumes symmetry
    where the interval assumes normality, agrees; *undetermined*: none of these, or one seed.

    Raises:
        ValueError: the sequences are empty or of different lengths.
    """
    if not baseline or len(baseline) != len(variant):
        raise ValueError(
            f"baseline and variant must pair up, got {len(baseline)} and {len(variant)} values"
        )
    sign = 1.0 if metric.mode == "max" else -1.0
    gains = [sign * (b - a) for a, b in zip(baseline, variant, strict=True)]
    seeds, gain = len(gains), statistics.fmean(gains)
    if seeds == 1:
        return Comparison(1, gain, None, "undetermined")
    low, high = _t_interval(gains, confidence)
    p = _sign_flip_p(gains) if seeds >= SIGN_FLIPS_FROM else None
    verdict = _verdict(low, high, metric.margin)
    if verdict in ("better", "worse") and p is not None and p > 1 - confidence:
        verdict = "undetermined"
    return Comparison(
        seeds,
        gain,
        (low, high),
        verdict,
        p,
        _bootstrap(gains) if seeds >= BOOTSTRAP_FROM else None,
        _seeds_needed(gains, metric.margin) if verdict == "undetermined" else None,
    )


class Interval(NamedTuple):
    """A ratio with its 95 % interval."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedComparison:
    """A variant's step time over the baseline's, by round."""

    ratio: Interval
    aa: Interval  # the baseline to its own second copy
    rounds: int

    @property
    def floor(self) -> float:
        """The ratio above 1 from which on a difference is claimed."""
        return math.exp(max(abs(math.log(self.aa.middle)), math.log1p(SMALLEST_CLAIM)))

    @property
    def word(self) -> Speed:
        """What may be claimed: the whole interval has to lie beyond the floor."""
        if self.rounds < ROUNDS_FROM:
            return "no difference"
        if self.ratio.high < 1 / self.floor:
            return "faster"
        return "slower" if self.ratio.low > self.floor else "no difference"


def compare_speed(
    timings: Sequence[Mapping[str, Sequence[float]]], variant: str
) -> SpeedComparison:
    """Judge a variant's step time by interleaved rounds, those of several seeds taken together.

    By round: the logarithm of the variant's seconds over the geometric mean of those of the
    baseline's two copies (the first variant and "A/A"). Over rounds: the Hodges-Lehmann median with
    the interval of Wilcoxon's signed ranks, which is exact for any symmetric noise. A few steps
    that other processes delayed change neither.

    Args:
        timings: for each seed, variant label -> seconds of a step, by round. Seeds after the
            first `TIMED_SEEDS` are ignored.
    """
    ratios: list[float] = []
    floor: list[float] = []
    for seconds in timings[:TIMED_SEEDS]:
        first = seconds[next(label for label in seconds if label != AA)]
        for own, a, b in zip(seconds[variant], first, seconds[AA], strict=True):
            ratios.append(math.log(own) - math.log(a * b) / 2)
            floor.append(math.log(b / a))
    return SpeedComparison(_hodges_lehmann(ratios), _hodges_lehmann(floor), len(ratios))


def step_time_ratios(seconds: Mapping[str, Sequence[float]], variant: str) -> dict[str, float]:
    """`compare_speed` of one seed as flat names, for a result's summary.

    ``time/step_ratio`` is the variant's ratio, ``time/aa_ratio`` that of the first variant to its
    copy; ``_low`` and ``_high`` are the ends of their 95 % intervals. The first variant's own ratio
    is 1.
    """
    compared = compare_speed([seconds], variant)
    is_first = variant == next(label for label in seconds if label != AA)
    ratio = Interval(1.0, 1.0, 1.0) if is_first else compared.ratio
    return {
        f"time/{name}{end}": value
        for name, interval in (("step_ratio", ratio), ("aa_ratio", compared.aa))
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }


def geometric_mean(ratios: Sequence[float]) -> Interval:
    """exp of the mean logarithm with its t-interval; NaN bounds if there is one ratio only.

    Raises:
        ValueError: ``ratios`` is empty.
    """
    logs = [math.log(ratio) for ratio in ratios]
    middle = math.exp(statistics.fmean(logs))
    if len(logs) == 1:
        return Interval(middle, math.nan, math.nan)
    low, high = _t_interval(logs, CONFIDENCE)
    return Interval(middle, math.exp(low), math.exp(high))


def _t_interval(gains: Sequence[float], confidence: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    error = statistics.stdev(gains) / len(gains) ** 0.5
    half = float(stdtrit(len(gains) - 1, (1 + confidence) / 2)) * error
    gain = statistics.fmean(gains)
    return gain - half, gain + half


def _sign_flip_p(gains: Sequence[float]) -> float:
    """The share of sign patterns whose mean is at least as far from zero as the observed one."""
    import numpy as np

    sums = np.abs(_sign_patterns(len(gains)) @ np.asarray(gains))
    # Patterns that tie with the observed one must count despite rounding.
    return float(np.mean(sums >= sums[0] * (1 - 1e-9)))


@lru_cache(maxsize=4)
def _sign_patterns(n: int) -> "npt.NDArray[np.float64]":
    """Patterns of n signs, one a row; the observed one comes first, so p is never zero."""
    import numpy as np

    if n < _EXACT_BELOW:
        return np.array(list(product((1.0, -1.0), repeat=n)))
    draw = np.random.default_rng(0).integers(0, 2, (2**13, n), dtype=np.int8)
    flips = np.where(draw, -1.0, 1.0)
    flips[0] = 1.0
    return flips


def _bootstrap(gains: Sequence[float]) -> tuple[float, float] | None:
    import warnings

    import numpy as np
    from scipy.stats import bootstrap

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # equal gains have no acceleration: NaN below
        found = bootstrap(
            (np.asarray(gains),),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=999,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _seeds_needed(gains: Sequence[float], margin: float) -> int | None:
    """The least number of seeds that would decide with POWER, if effect and spread over seeds are
    those seen here. A rough guide: both are estimated from few seeds."""
    import numpy as np
    from scipy.special import stdtr, stdtrit

    spread = statistics.stdev(gains)
    if spread == 0:
        return None
    gain = abs(statistics.fmean(gains))
    n = np.arange(len(gains) + 1, _SEEDS_SEARCHED + 1)
    critical, scale = stdtrit(n - 1, (1 + CONFIDENCE) / 2), np.sqrt(n) / spread
    differs = stdtr(n - 1, gain * scale - critical)
    within = (
        stdtr(n - 1, (margin - gain) * scale - critical)
        + stdtr(n - 1, (margin + gain) * scale - critical)
        - 1
    )
    enough = np.flatnonzero(np.maximum(differs, within) >= POWER)
    return int(n[enough[0]]) if enough.size else None


def _hodges_lehmann(values: Sequence[float]) -> Interval:
    """Median of all pairwise means, as a ratio, with the signed-rank interval."""
    import numpy as np

    i, j = np.triu_indices(len(values))
    array = np.asarray(values)
    means = np.sort((array[i] + array[j]) / 2)
    cut = max(_signed_rank_cut(len(values)) - 1, 0)
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


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if -margin < low and high < margin:
        return "equivalent"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "undetermined"
