"""Statistics of a comparison: paired effects, intervals, tests, and one word for the verdict.

The choices below were made by simulation; ``tests/dyt_bench/verdicts/test_statistics.py`` and
``test_error_rates.py`` repeat it.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from dyt_bench.plugin.domain import Metric

Verdict = Literal[
    "better", "worse", "equivalent", "undetermined", "too little learned", "still learning"
]
NO_VERDICTS = ("too little learned", "still learning")  # why there is none, whatever the tests say

CONFIDENCE = 0.95
MARGIN_SHARE = 0.05  # of what the baseline learned, as a margin
WORDS_FROM = 3  # seeds; with fewer there are effects, and no verdict
# Below so many seeds a variant's own spread is a poor estimate: that of the model's other variants
# stands beside it.
OWN_SPREAD_FROM = 5
# A 95 % bootstrap interval covers the truth in 73 of 100 cases with three seeds, 84 with five and
# 88 with eight (normal differences; the t-interval: 95). It is reported from where it is useful.
BOOTSTRAP_FROM = 12  # seeds
POWER = 0.8  # chance of a verdict with `Comparison.seeds_needed` seeds
_SEEDS_SEARCHED = 200


class Spread(NamedTuple):
    """A standard deviation of paired differences, and the degrees of freedom it is known with."""

    sd: float
    df: float


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline, paired by seed; gains are positive where it is better."""

    gains: tuple[float, ...]  # of each seed, in the metric's unit
    gain: float  # their mean
    interval: tuple[float, float] | None  # t-interval of the gain; None from one seed
    margin: float  # a gain within it is no difference that matters
    verdict: Verdict
    p: float | None = None  # two-sided t-test of no difference; None below WORDS_FROM seeds
    p_within: float | None = None  # two one-sided t-tests of a difference beyond the margin
    within: bool = False  # whether the gain is shown to lie within the margin
    level: float = 1 - CONFIDENCE  # of its own tests, where others on the page need a part

    @property
    def seeds(self) -> int:
        return len(self.gains)

    @cached_property
    def bootstrap(self) -> tuple[float, float] | None:
        """BCa interval, 95 %; None below BOOTSTRAP_FROM seeds."""
        return _bootstrap(self.gains) if self.seeds >= BOOTSTRAP_FROM else None

    @cached_property
    def seeds_needed(self) -> int | None:
        """How many seeds in total would decide.

        None: it is decided, or the number is not known, from one seed or because more than 200
        would be needed.
        """
        if self.verdict != "undetermined" or self.seeds < 2:
            return None
        return _seeds_needed(self.gains, self.margin, self.level)


def gains_of(baseline: Sequence[float], variant: Sequence[float], metric: Metric) -> list[float]:
    """By how much the variant is better, seed by seed.

    Raises:
        ValueError: the sequences are empty or of different lengths.
    """
    if not baseline or len(baseline) != len(variant):
        raise ValueError(
            f"baseline and variant must pair up, got {len(baseline)} and {len(variant)} values"
        )
    sign = 1.0 if metric.mode == "max" else -1.0
    return [sign * (b - a) for a, b in zip(baseline, variant, strict=True)]


def margin_of(metric: Metric, reached: float, blind: float | None) -> float:
    """A gain that does not matter, in the metric's unit.

    It is a share of what the baseline gained over the blind score: a margin that holds for a model
    that learned nothing would say nothing. The metric's own where the blind score is not known.
    """
    return metric.margin if blind is None else MARGIN_SHARE * abs(reached - blind)


def pooled_spread(gains: Sequence[Sequence[float]]) -> Spread | None:
    """The spread over seeds that the variants of one model have in common.

    All differences are to the same baseline runs, so they are correlated by about a half, and
    their variances by about a quarter: k variants know it with fewer than k times the degrees of
    freedom of one.

    Args:
        gains: of each variant. Those of one seed say nothing of the spread.

    Returns:
        None if no variant has two seeds.
    """
    several = [own for own in gains if len(own) > 1]
    if not several:
        return None
    df = [len(own) - 1 for own in several]
    variance = sum(statistics.variance(own) * n for own, n in zip(several, df, strict=True))
    return Spread(math.sqrt(variance / sum(df)), sum(df) / (1 + (len(several) - 1) / 4))


def compare(
    gains: Sequence[float],
    margin: float,
    *,
    pooled: Spread | None = None,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Judge a variant by its gains, one a seed, without regard to other comparisons.

    *better*, *worse*: the paired t-test finds a difference. *equivalent*: it finds none, and two
    one-sided tests find that the gain lies within the margin. *undetermined*: neither, or fewer
    than `WORDS_FROM` seeds. A difference can be both there and within the margin
    (`Comparison.within`).

    Args:
        gains: of `gains_of`, at least one.
        margin: in the metric's unit.
        pooled: of the model's variants. Below `OWN_SPREAD_FROM` seeds the larger of it and the
            variant's own spread is used: three equal gains by chance are no evidence.
        confidence: of the interval and the tests.
    """
    seeds, gain = len(gains), statistics.fmean(gains)
    if seeds == 1 and pooled is None:
        return Comparison(tuple(gains), gain, None, margin, "undetermined")
    sd, df = _spread(gains, pooled)
    error = sd / math.sqrt(seeds)
    half = _t_quantile(df, (1 + confidence) / 2) * error
    found = Comparison(
        tuple(gains),
        gain,
        (gain - half, gain + half),
        margin,
        "undetermined",
    )
    if seeds < WORDS_FROM:
        return found
    p = 2 * _t_tail(abs(gain), error, df)
    p_within = _t_tail(margin - abs(gain), error, df)
    return _worded(replace(found, p=p, p_within=p_within), p, p_within, 1 - confidence)


def judge(comparisons: Sequence[Comparison], *, level: float = 1 - CONFIDENCE) -> list[Comparison]:
    """The comparisons of one page with verdicts that allow for their number.

    Holm's procedure, once over the tests of a difference and once over those of equivalence: the
    chance that a page holds any false verdict of a kind is at most ``level``. Holm 1979.
    """
    found = []
    adjusted = _holm([c.p for c in comparisons])
    within = _holm([c.p_within for c in comparisons])
    family = max(1, sum(c.p is not None for c in comparisons))
    for comparison, p, p_within in zip(comparisons, adjusted, within, strict=True):
        if p is None or p_within is None or comparison.verdict in NO_VERDICTS:
            found.append(comparison)
            continue
        found.append(_worded(comparison, p, p_within, level, family))
    return found


def _worded(
    found: Comparison, p: float, p_within: float, level: float, family: int = 1
) -> Comparison:
    """The comparison with its verdict, by p-values adjusted for a family of so many."""
    verdict: Verdict = "undetermined"
    if p < level:
        verdict = "better" if found.gain > 0 else "worse"
    elif p_within < level:
        verdict = "equivalent"
    return replace(found, verdict=verdict, within=p_within < level, level=level / family)


def _spread(gains: Sequence[float], pooled: Spread | None) -> Spread:
    own = Spread(statistics.stdev(gains), len(gains) - 1) if len(gains) > 1 else None
    if own is None or (pooled is not None and len(gains) < OWN_SPREAD_FROM):
        assert pooled is not None
        return Spread(max(pooled.sd, own.sd if own else 0.0), pooled.df)
    return own


def _holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values; None stays and does not count."""
    order = sorted((p, index) for index, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    most = 0.0
    for rank, (p, index) in enumerate(order):
        most = max(most, min(1.0, (len(order) - rank) * p))
        adjusted[index] = most
    return adjusted


def _t_quantile(df: float, probability: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def _t_tail(value: float, error: float, df: float) -> float:
    """The chance that Student's t exceeds value / error."""
    from scipy.special import stdtr

    if error == 0:
        return 0.0 if value > 0 else (0.5 if value == 0 else 1.0)
    return float(stdtr(df, -value / error))


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


def _seeds_needed(gains: Sequence[float], margin: float, level: float) -> int | None:
    """The least number of seeds that would decide with POWER, if effect and spread over seeds are
    those seen here. A rough guide: both are estimated from few seeds."""
    import numpy as np
    from scipy.special import stdtr, stdtrit

    spread = statistics.stdev(gains)
    if spread == 0:
        return None
    gain = abs(statistics.fmean(gains))
    n = np.arange(len(gains) + 1, _SEEDS_SEARCHED + 1)
    scale = np.sqrt(n) / spread
    differs = stdtr(n - 1, gain * scale - stdtrit(n - 1, 1 - level / 2))
    critical = stdtrit(n - 1, 1 - level)
    within = (
        stdtr(n - 1, (margin - gain) * scale - critical)
        + stdtr(n - 1, (margin + gain) * scale - critical)
        - 1
    )
    enough = np.flatnonzero(np.maximum(differs, within) >= POWER)
    return int(n[enough[0]]) if enough.size else None
