"""What a difference is worth: paired effects, intervals, and one word for the verdict."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dyt_bench.domain import Metric

Verdict = Literal["better", "worse", "equivalent", "undetermined"]
Speed = Literal["faster", "slower", "no difference"]
AA = "A/A"  # the arm that is the first norm once more


@dataclass(frozen=True)
class Comparison:
    """An arm against the native norm, paired by seed; gains are positive where it is better."""

    seeds: int
    gain: float  # mean over seeds, in the metric's unit
    interval: tuple[float, float] | None  # 95 % t-interval of the gain; None from one seed
    verdict: Verdict


def compare(native: Sequence[float], arm: Sequence[float], metric: Metric) -> Comparison:
    """Judge an arm by the metric's values, ``native[i]`` and ``arm[i]`` from one seed.

    equivalent: the whole interval lies within the metric's margin; better, worse: it lies on
    one side of zero; undetermined: it does neither, or there is one seed and no interval.

    Raises:
        ValueError: the sequences are empty or of different lengths.
    """
    if not native or len(native) != len(arm):
        raise ValueError(f"native and arm must pair up, got {len(native)} and {len(arm)} values")
    sign = 1.0 if metric.mode == "max" else -1.0
    gains = [sign * (b - a) for a, b in zip(native, arm, strict=True)]
    gain = statistics.fmean(gains)
    if len(gains) == 1:
        return Comparison(1, gain, None, "undetermined")
    low, high = _t_interval(gains)
    return Comparison(len(gains), gain, (low, high), _verdict(low, high, metric.margin))


def step_time_ratios(seconds: Mapping[str, Sequence[float]], norm: str) -> dict[str, float]:
    """A norm's step time over the first norm's, round by round: median and quartiles.

    ``time/step_ratio`` is the norm's own, ``time/aa_ratio`` that of the first norm to itself.
    """
    first = next(label for label in seconds if label != AA)
    summary: dict[str, float] = {}
    for name, arm in (("step_ratio", norm), ("aa_ratio", AA)):
        ratios = [a / b for a, b in zip(seconds[arm], seconds[first], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        summary |= {
            f"time/{name}": middle,
            f"time/{name}_q1": low,
            f"time/{name}_q3": high,
        }
    return summary


def speed(summary: Mapping[str, float]) -> Speed:
    """What the ratios of `step_time_ratios` allow to be said.

    A ratio counts only where its quartiles stay clear of the ratios that the same code reached
    against itself.
    """
    floor_low = min(1.0, summary["time/aa_ratio_q1"])
    floor_high = max(1.0, summary["time/aa_ratio_q3"])
    if summary["time/step_ratio_q3"] < floor_low:
        return "faster"
    if summary["time/step_ratio_q1"] > floor_high:
        return "slower"
    return "no difference"


def _t_interval(gains: Sequence[float]) -> tuple[float, float]:
    from scipy.stats import t

    error = statistics.stdev(gains) / len(gains) ** 0.5
    half = float(t.ppf(0.975, len(gains) - 1)) * error
    gain = statistics.fmean(gains)
    return gain - half, gain + half


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if -margin < low and high < margin:
        return "equivalent"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "undetermined"
