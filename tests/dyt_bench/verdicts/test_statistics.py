"""Verdicts: cases computed by hand, properties, and simulations of their error rates."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import AA
from dyt_bench.verdicts.statistics import (
    SMALLEST_CLAIM,
    compare,
    compare_speed,
    geometric_mean,
    step_time_ratios,
)

LOSS = Metric(name="val/loss", mode="min", title="loss", margin=0.05)
ACCURACY = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)


@pytest.mark.parametrize(
    ("baseline", "variant", "verdict"),
    [
        ([1.0, 1.1, 1.2], [0.7, 0.81, 0.9], "better"),
        ([1.0, 1.1, 1.2], [1.3, 1.41, 1.5], "worse"),
        ([1.0, 1.1, 1.2], [1.01, 1.1, 1.19], "equivalent"),
        ([1.0, 1.1, 1.2], [0.5, 1.9, 1.2], "undetermined"),
        ([1.0, 1.1, 1.2], [1.0, 1.1, 1.2], "equivalent"),
        ([1.0], [0.1], "undetermined"),
    ],
)
def test_verdicts(baseline, variant, verdict):
    assert compare(baseline, variant, LOSS).verdict == verdict


def test_interval_is_the_paired_t_interval():
    baseline, variant = [0.90, 0.91, 0.93, 0.95], [0.92, 0.95, 0.94, 0.97]
    comparison = compare(baseline, variant, ACCURACY)
    gains = [b - a for a, b in zip(baseline, variant, strict=True)]
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert comparison.interval == pytest.approx((expected.low, expected.high))
    assert comparison.gain == pytest.approx(sum(gains) / 4)
    stricter = compare(baseline, variant, ACCURACY, confidence=0.99).interval
    assert stricter[0] < comparison.interval[0] < comparison.interval[1] < stricter[1]


values = st.lists(st.floats(0.1, 10), min_size=2, max_size=8)


@given(values, st.randoms())
def test_swapping_baseline_and_variant_swaps_the_verdict(baseline, random):
    variant = [value * random.uniform(0.5, 2) for value in baseline]
    there, back = compare(baseline, variant, LOSS), compare(variant, baseline, LOSS)
    assert there.gain == pytest.approx(-back.gain)
    assert (there.p, there.seeds_needed) == (back.p, back.seeds_needed)
    opposite = {"better": "worse", "worse": "better"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="pair up, got 1 and 2"):
        compare([1.0], [1.0, 2.0], LOSS)


def test_the_sign_flip_test_is_exact_and_left_out_where_it_cannot_decide():
    gains = np.array([0.3, 0.1, 0.4, -0.2, 0.5, 0.2, 0.25])
    sums = [abs(float(np.dot(signs, gains))) for signs in product((1, -1), repeat=7)]
    expected = np.mean([total >= gains.sum() - 1e-12 for total in sums])
    assert compare([0.0] * 7, list(gains), ACCURACY).p == pytest.approx(expected)
    assert compare([0.0] * 5, list(gains[:5]), ACCURACY).p is None
    assert compare([0.0] * 6, [0.1] * 6, ACCURACY).p == 2 / 2**6
    many = compare([0.0] * 40, [0.1, 0.3] * 20, ACCURACY)
    assert 0 < many.p < 0.001


def test_a_claim_has_to_pass_the_sign_flip_test_too():
    """One of six seeds has the other sign: 4 of 64 patterns are as far from zero."""
    comparison = compare([0.0] * 6, [1.0, 1.0, 1.0, 1.0, 1.0, -0.05], ACCURACY)
    assert comparison.interval[0] > 0.3
    assert (comparison.p, comparison.verdict) == (4 / 64, "undetermined")


def test_seeds_needed_is_what_simulation_finds():
    """With the number of seeds that it names, about four of five cases get a verdict."""
    rng = np.random.default_rng(0)
    gains = np.array([0.9, -0.4, 0.7, 1.3])  # mean 0.63, standard deviation 0.73
    needed = compare([0.0] * 4, list(gains), ACCURACY).seeds_needed
    drawn = rng.normal(gains.mean(), gains.std(ddof=1), (4000, needed))
    decided = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert np.mean(decided) == pytest.approx(0.8, abs=0.1)
    wide = Metric(name="val/acc", mode="max", title="accuracy", margin=3.0)
    assert compare([0.0] * 2, [-2.0, 2.0], wide).seeds_needed < 15  # equivalence is a verdict
    assert compare([0.0] * 3, [-1.0, 1.0, 0.001], ACCURACY).seeds_needed is None  # over 200
    assert compare([0.0], [1.0], ACCURACY).seeds_needed is None
    assert compare([0.0] * 3, [1.0, 1.01, 0.99], ACCURACY).seeds_needed is None  # decided


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_with_few_seeds_the_t_interval_covers_and_the_bootstrap_does_not(seeds):
    """Why `compare` judges by the t-interval: coverage of the truth, 2,000 draws each.

    Even in its worst case here, a skewed difference, it is ten points better than the bootstrap.
    """
    rng = np.random.default_rng(0)
    covered = {}
    for name, drawn in {
        "normal": rng.normal(size=(2000, seeds)),
        "heavy": rng.standard_t(3, size=(2000, seeds)),
        "skewed": rng.exponential(size=(2000, seeds)) - 1,
    }.items():
        t = stats.ttest_1samp(drawn, 0, axis=1).confidence_interval(0.95)
        bca = stats.bootstrap(
            (drawn,), np.mean, axis=1, n_resamples=499, method="BCa", batch=100, rng=rng
        ).confidence_interval
        covered[name] = [np.mean((ci.low < 0) & (ci.high > 0)) for ci in (t, bca)]
    assert covered["normal"][0] == pytest.approx(0.95, abs=0.02)
    assert covered["heavy"][0] > 0.94
    assert covered["skewed"][0] > 0.85
    assert all(t > bca + 0.07 for t, bca in covered.values())


def test_the_bootstrap_is_given_where_it_covers():
    rng = np.random.default_rng(0)
    gains = list(rng.exponential(size=20))
    low, high = compare([0.0] * 20, gains, ACCURACY).bootstrap
    assert low < np.mean(gains) < high
    assert compare([0.0] * 5, gains[:5], ACCURACY).bootstrap is None
    assert compare([0.0] * 12, [0.5] * 12, ACCURACY).bootstrap is None


def rounds(rng, noise, effect=0.0, count=11):
    """Seconds of interleaved steps whose logarithms differ by ``effect`` and noise."""
    draw = {
        "even": lambda: rng.normal(0, 0.05, count),
        "spikes": lambda: (
            rng.normal(0, 0.03, count) + rng.exponential(0.5, count) * (rng.random(count) < 0.15)
        ),
        "skewed": lambda: rng.gamma(1, 0.08, count),
    }[noise]
    drift = np.cumsum(rng.normal(0, 0.1, count))  # what slows the machine slows every variant
    return {
        name: list(np.exp(drift + shift + draw()))
        for name, shift in (("native", 0.0), ("dyt", effect), (AA, 0.0))
    }


@pytest.mark.parametrize("noise", ["even", "spikes", "skewed"])
def test_speed_claims_a_difference_that_is_not_there_in_under_two_cases_of_a_hundred(noise):
    rng = np.random.default_rng(0)
    words = [compare_speed([rounds(rng, noise)], "dyt").word for _ in range(500)]
    assert np.mean([word != "no difference" for word in words]) < 0.02


@pytest.mark.parametrize(("effect", "word"), [(0.2, "slower"), (-0.2, "faster")])
def test_speed_finds_a_difference_that_is_there(effect, word):
    rng = np.random.default_rng(0)
    words = [compare_speed([rounds(rng, "even", effect)], "dyt").word for _ in range(200)]
    assert words.count(word) > 0.95 * len(words)


def test_the_interval_of_the_speed_ratio_covers_it():
    rng = np.random.default_rng(0)
    true = math.exp(0.05)
    found = [compare_speed([rounds(rng, "even", 0.05)], "dyt").ratio for _ in range(500)]
    assert np.mean([low <= true <= high for _, low, high in found]) > 0.93


def test_speed_needs_rounds_and_a_difference_worth_a_claim():
    rng = np.random.default_rng(0)
    steady = {name: [1.0 + 1e-4 * i for i in range(11)] for name in ("native", AA)}
    nearly = {**steady, "dyt": [s * (1 + SMALLEST_CLAIM / 2) for s in steady["native"]]}
    assert compare_speed([nearly], "dyt").word == "no difference"
    twice = {**steady, "dyt": [2 * s for s in steady["native"]]}
    assert compare_speed([twice], "dyt").word == "slower"
    few = {name: seconds[:5] for name, seconds in twice.items()}
    assert compare_speed([few], "dyt").word == "no difference"
    seeds = [rounds(rng, "even", 0.06) for _ in range(5)]
    assert compare_speed(seeds, "dyt").rounds == 55
    assert compare_speed(seeds, "dyt").word == "slower"  # which one seed does not show
    assert compare_speed(seeds[:1], "dyt").word == "no difference"


def test_step_time_ratios_are_flat_and_the_first_variant_is_the_unit():
    seconds = {"native": [1.0, 2.0] * 5, AA: [1.0, 2.0] * 5, "dyt": [0.5, 1.0] * 5}
    ratios = step_time_ratios(seconds, "dyt")
    assert ratios["time/step_ratio"] == pytest.approx(0.5)
    assert ratios["time/step_ratio_low"] <= 0.5 <= ratios["time/step_ratio_high"] + 1e-9
    assert ratios["time/aa_ratio"] == 1
    assert step_time_ratios(seconds, "native")["time/step_ratio"] == 1


def test_geometric_mean_weighs_twice_and_half_alike():
    middle, low, high = geometric_mean([0.5, 2.0])
    assert middle == pytest.approx(1)
    assert low * high == pytest.approx(1)
    alone = geometric_mean([1.5])
    assert alone.middle == pytest.approx(1.5)
    assert math.isnan(alone.low)
