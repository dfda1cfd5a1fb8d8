"""Step times: words of speed by simulation, and ratios computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from dyt_bench.plugin.task import AA
from dyt_bench.verdicts.speed import (
    BUILDS_FROM,
    SMALLEST_CLAIM,
    compare_speed,
    geometric_mean,
    step_time_ratios,
)


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


def builds(rng, noise, number, effect=0.0, between=0.015):
    """Timings of several builds: each copy of a model has a pace of its own in each build."""
    made = []
    for _ in range(number):
        timed = rounds(rng, noise, effect)
        paces = np.exp(rng.normal(0, between, len(timed)))
        made.append({name: list(own * pace) for (name, own), pace in zip_(timed, paces)})
    return made


def zip_(timed, paces):
    return zip(((name, np.array(own)) for name, own in timed.items()), paces, strict=True)


@pytest.mark.parametrize("number", [3, 5])
@pytest.mark.parametrize("noise", ["even", "spikes", "skewed"])
def test_speed_claims_a_difference_that_is_not_there_in_under_four_cases_of_a_hundred(
    noise, number
):
    rng = np.random.default_rng(0)
    words = [compare_speed(builds(rng, noise, number), "dyt").word for _ in range(400)]
    assert np.mean([word != "no difference" for word in words]) < 0.04


def test_rounds_pooled_over_builds_would_claim_differences_that_are_not_there():
    """Why the build is the unit: the signed-rank interval of 33 rounds of 3 builds is too short."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        timed = builds(rng, "even", 3, between=0.05)
        ratios = [
            math.log(a / b) for one in timed for a, b in zip(one["dyt"], one["native"], strict=True)
        ]
        wrong += stats.wilcoxon(ratios).pvalue < 0.05
    assert wrong / 400 > 0.15


@pytest.mark.parametrize(("effect", "word"), [(0.2, "slower"), (-0.2, "faster")])
def test_speed_finds_a_difference_that_is_there(effect, word):
    rng = np.random.default_rng(0)
    words = [compare_speed(builds(rng, "even", 5, effect), "dyt").word for _ in range(200)]
    assert words.count(word) > 0.95 * len(words)


def test_the_interval_of_the_speed_ratio_covers_it():
    rng = np.random.default_rng(0)
    true = math.exp(0.05)
    found = [compare_speed(builds(rng, "even", 3, 0.05), "dyt").ratio for _ in range(400)]
    assert np.mean([low <= true <= high for _, low, high in found]) > 0.93


def test_speed_needs_builds_and_a_difference_worth_a_claim():
    steady = {name: [1.0 + 1e-4 * i for i in range(11)] for name in ("native", AA)}
    nearly = {**steady, "dyt": [s * (1 + SMALLEST_CLAIM / 2) for s in steady["native"]]}
    assert compare_speed([nearly] * 5, "dyt").word == "no difference"
    twice = {**steady, "dyt": [2 * s for s in steady["native"]]}
    few = compare_speed([twice] * (BUILDS_FROM - 1), "dyt")
    assert few.word == "no difference"
    assert few.ratio.middle == pytest.approx(2)
    assert math.isnan(compare_speed([twice], "dyt").ratio.low)
    enough = compare_speed([twice] * BUILDS_FROM, "dyt")
    assert (enough.word, enough.builds) == ("slower", BUILDS_FROM)


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
