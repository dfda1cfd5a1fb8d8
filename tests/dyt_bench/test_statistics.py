"""Verdicts on cases worked out by hand, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyt_bench.domain import Metric
from dyt_bench.statistics import compare, speed, step_time_ratios

LOSS = Metric(name="val/loss", mode="min", title="loss", margin=0.05)
ACCURACY = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)


@pytest.mark.parametrize(
    ("native", "arm", "verdict"),
    [
        ([1.0, 1.1, 1.2], [0.7, 0.81, 0.9], "better"),
        ([1.0, 1.1, 1.2], [1.3, 1.41, 1.5], "worse"),
        ([1.0, 1.1, 1.2], [1.01, 1.1, 1.19], "equivalent"),
        ([1.0, 1.1, 1.2], [0.5, 1.9, 1.2], "undetermined"),
        ([1.0], [0.1], "undetermined"),
    ],
)
def test_verdicts(native, arm, verdict):
    assert compare(native, arm, LOSS).verdict == verdict


def test_interval_is_the_paired_t_interval():
    from scipy.stats import ttest_1samp

    native, arm = [0.90, 0.91, 0.93, 0.95], [0.92, 0.95, 0.94, 0.97]
    comparison = compare(native, arm, ACCURACY)
    gains = [b - a for a, b in zip(native, arm, strict=True)]
    expected = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert comparison.interval == pytest.approx((expected.low, expected.high))
    assert comparison.gain == pytest.approx(sum(gains) / 4)


values = st.lists(st.floats(0.1, 10), min_size=2, max_size=6)


@given(values, st.randoms())
def test_swapping_the_arms_swaps_the_verdict(native, random):
    arm = [value * random.uniform(0.5, 2) for value in native]
    there, back = compare(native, arm, LOSS), compare(arm, native, LOSS)
    assert there.gain == pytest.approx(-back.gain)
    opposite = {"better": "worse", "worse": "better"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="pair up, got 1 and 2"):
        compare([1.0], [1.0, 2.0], LOSS)


def test_speed_claims_nothing_below_the_noise_floor():
    native = [1.0, 1.1, 0.9, 1.0, 1.05]
    noise = [1.1, 1.0, 1.0, 0.9, 1.0]
    for factor, word in ((0.5, "faster"), (1.0, "no difference"), (2.0, "slower")):
        arm = [factor * second for second in native]
        ratios = step_time_ratios({"native": native, "A/A": noise, "dyt": arm}, "dyt")
        assert ratios["time/step_ratio"] == pytest.approx(factor)
        assert speed(ratios) == word
