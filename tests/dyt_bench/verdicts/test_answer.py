"""The answer in a sentence, the grid, and the digits of values."""

from dataclasses import replace

import pytest

from dyt_bench.plugin.domain import Metric
from dyt_bench.verdicts.answer import answer, grid, variants_of
from dyt_bench.verdicts.runs import TaskGroup
from dyt_bench.verdicts.speed import Interval, SpeedComparison
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.statistics import Comparison
from dyt_bench.verdicts.words import decimals, gain

METRIC = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)
GROUP = TaskGroup(
    domain="vision",
    model="vit",
    dataset="digits",
    path="",
    steps=10,
    batch_size=4,
    learning_rate=0.1,
    training="default",
    train_samples=None,
    val_every=5,
)


def standing(name, verdict, variant="dyt", ratio=None, seeds=3, **more):
    judged = Comparison((-0.01,) * seeds, -0.01, (-0.02, 0.0), 0.04, verdict)
    speed = None
    if ratio is not None:
        speed = SpeedComparison(Interval(ratio, 0.9, 1.1), Interval(1.0, 0.99, 1.01), 3)
    return Standing(
        group=GROUP,
        name=name,
        variant=variant,
        metric=METRIC,
        seeds=tuple(range(seeds)),
        baseline_last=0.9,
        variant_last=0.89,
        comparison=judged,
        baseline_best=0.9,
        variant_best=0.89,
        best=judged,
        baseline_steps=10,
        variant_steps=10,
        speed=speed,
        **more,
    )


def test_models_whose_runs_failed_are_named():
    standings = [standing("vision/vit", "equivalent")]
    assert answer(standings, ["vision/conv"]) == (
        "dyt in place of the native norm is equivalent in 1 of 1 model (vision/vit). Runs failed, "
        "so that nothing is compared, of vision/conv."
    )


def test_the_answer_counts_the_models_of_the_variant_that_most_have():
    standings = [
        standing("a", "equivalent", ratio=0.5),
        standing("b", "worse", ratio=2.0),
        standing("c", "equivalent"),
        standing("a", "better", variant="derf"),
    ]
    assert answer(standings) == (
        "dyt in place of the native norm is equivalent in 2 of 3 models (a; c) and worse in 1 (b); "
        "a training step takes 1.00 of the time."
    )


def test_the_answer_to_one_model_and_to_many():
    assert answer([]) == ""
    assert answer([standing("a", "undetermined")]) == (
        "dyt in place of the native norm is undetermined in 1 of 1 model (a)."
    )
    many = answer([standing(str(i), "worse") for i in range(7)])
    assert "worse in 7 of 7 models (0; 1; 2; 3 and 3 more)" in many


def test_the_grid_has_a_row_a_model_and_the_share_of_what_was_learned():
    standings = [
        standing("a", "worse", blind=0.4),
        replace(standing("a", "better", variant="derf", seeds=2), baseline_last=0.95),
        standing("b", "equivalent"),
    ]
    a, b = grid(standings)
    assert variants_of(standings) == ["dyt", "derf"]
    assert (a.model, a.metric, a.baseline) == ("a", "accuracy ↑", "0.9000")  # of the most seeds
    assert (a.cells["dyt"].verdict, a.cells["dyt"].amount) == ("worse", "-2.0%")
    assert b.cells["dyt"].amount == "-0.0100"  # what was learned is not known
    assert "derf" not in b.cells
    assert a.cells["dyt"].details.startswith("0.9000 → 0.8900, gain -0.0100 [-0.0200, +0.0000]")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9, "+0.0000 [-0.0001, +0.0001]"),
        (0.0123, "+0.00001 [-0.00007, +0.00010]"),
        (0.000123, "+0.0000123 [-0.0000749, +0.0000996]"),
    ],
)
def test_a_gain_and_its_interval_have_the_decimals_of_the_value(value, text):
    judged = Comparison((0.0,), 1.234e-5, (-7.49e-5, 9.96e-5), 0.1, "undetermined")
    assert gain(judged, value) == text


@pytest.mark.parametrize(("value", "places"), [(0.0, 4), (2.5, 4), (0.1, 4), (0.05, 5), (5e-7, 10)])
def test_small_values_have_four_digits(value, places):
    assert decimals(value) == places
