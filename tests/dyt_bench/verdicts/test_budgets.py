"""Models at several budgets: plateau of the baseline, and the gains' trend."""

import pytest

from dyt_bench.plugin.domain import Metric
from dyt_bench.records.record import Result
from dyt_bench.report.figures.budgets import drawable
from dyt_bench.verdicts.budgets import still_learning, trends
from dyt_bench.verdicts.runs import EndedRun, Evidence

ACCURACY = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)


def run(variant, seed, steps, value, *, blind=0.1, model="vit", status="finished"):
    parameters = {
        "domain": "vision",
        "model": model,
        "dataset": "digits",
        "steps": steps,
        "val_every": steps // 5,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "variant": variant,
        "seed": seed,
    }
    row = {"step": float(steps), "val/acc": value}
    summary = {} if blind is None else {"blind/val/acc": blind}
    result = Result(
        status=status, started=0.0, ended=1.0, first=row, best=row, last=row, summary=summary
    )
    return EndedRun({"parameters": parameters}, result, [row])


def trends_of(runs):
    return trends(runs, lambda domain: ACCURACY)


def test_the_baseline_is_at_its_plateau_where_more_steps_give_less_than_the_margin():
    # Of the 0.5 learned, 5 % are 0.025.
    at = {10: 0.6, 20: 0.7, 40: 0.72}
    (trend,) = trends_of([run("native", 0, steps, value) for steps, value in at.items()])
    assert [budget.steps for budget in trend.budgets] == [10, 20, 40]
    improvements = [budget.improvement for budget in trend.budgets]
    assert improvements == [pytest.approx(0.1 / 0.5), pytest.approx(0.02 / 0.6), None]
    assert [budget.is_plateau for budget in trend.budgets] == [False, True, False]


def test_gains_are_paired_by_seed_and_shares_of_what_was_learned():
    runs = [
        run("native", 0, 10, 0.6),
        run("native", 1, 10, 0.8),
        run("dyt", 1, 10, 0.68),  # 0.12 behind its own seed, of 0.6 learned on average
        run("native", 0, 40, 0.9),
        run("dyt", 0, 40, 0.9),
    ]
    (trend,) = trends_of(runs)
    assert [budget.gains for budget in trend.budgets] == [
        {"dyt": pytest.approx(-0.12 / 0.6)},
        {"dyt": pytest.approx(0.0)},
    ]


def test_a_single_budget_is_no_trend():
    assert trends_of([run("native", 0, 10, 0.6), run("native", 0, 20, 0.6, model="convnext")]) == []


def test_what_failed_or_has_no_blind_score_is_left_out():
    diverged = [run("native", 0, 10, 0.6), run("native", 0, 20, 0.1, status="diverged")]
    assert trends_of(diverged) == []
    assert trends_of([run("native", 0, steps, 0.6, blind=None) for steps in (10, 20)]) == []
    without_baseline = [run("native", 0, 10, 0.6), run("dyt", 0, 20, 0.6)]
    assert trends_of(without_baseline) == []


def test_a_run_that_collapsed_is_in_no_mean_of_a_budget():
    runs = [run("native", seed, steps, 0.6) for seed in (0, 1) for steps in (10, 20)]
    runs += [run("dyt", 0, 10, 0.5), run("dyt", 1, 10, 0.1)]  # the second learned nothing
    (trend,) = trends_of(runs)
    assert trend.budgets[0].gains == {"dyt": pytest.approx(-0.1 / 0.5)}


def test_the_largest_budget_is_judged_by_the_step_before_it():
    still = Evidence("t", [run("native", 0, steps, v) for steps, v in ((10, 0.4), (20, 0.6))])
    groups = still_learning(still, lambda domain: ACCURACY)
    assert {group.steps for group in groups} == {10, 20}
    flat = Evidence("t", [run("native", 0, steps, v) for steps, v in ((10, 0.4), (20, 0.41))])
    assert still_learning(flat, lambda domain: ACCURACY) == set()


def test_budgets_are_drawn_where_a_variant_has_several():
    one = [run("native", 0, s, 0.6, model="vit") for s in (10, 20)] + [run("dyt", 0, 10, 0.5)]
    two = [run(name, 0, s, 0.6, model="convnext") for s in (10, 20) for name in ("native", "dyt")]
    assert [trend.group.model for trend in drawable(trends_of([*one, *two]))] == ["convnext"]
