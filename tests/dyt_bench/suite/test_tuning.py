"""`learning_rate: tuned`: which trials are planned, what they choose, and slips in the keys."""

from dataclasses import replace

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Variant, run_of
from dyt_bench.suite.expand import load_suite
from dyt_bench.suite.tuning import chosen

ACCURACY = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)
DYT = Variant(name="dyt")


@pytest.fixture
def load(tiny, tmp_path):
    def loaded(text):
        path = tmp_path / "s.yaml"
        path.write_text(f"name: s\nseeds: [0, 1]\nsteps: 4\ntasks:\n{text}")
        return load_suite(path, discover())

    return loaded


def test_every_variant_gets_the_same_trials_on_seeds_and_data_of_their_own(load):
    suite = load(
        "- {domain: tiny, models: [line], tuning: {rates: [0.1, 0.2, 0.4], seeds: [7, 8]}}"
    )
    assert len(suite.runs) == 3 * 2 * 2
    by_variant = {
        name: {(r.task.learning_rate, r.task.seed) for r in suite.runs if r.variant.name == name}
        for name in ("native", "dyt")
    }
    assert by_variant["native"] == by_variant["dyt"]
    assert len(by_variant["dyt"]) == 6
    assert {run.task.split for run in suite.runs} == {"tuning"}
    (tuning,) = suite.tunings
    assert [task.seed for task in tuning.tasks] == [0, 1]
    assert {task.split for task in tuning.tasks} == {"test"}


def test_tuned_alone_tries_rates_around_the_models_own(load):
    suite = load("- {domain: tiny, models: [line], learning_rate: tuned}")
    own = discover().domain("tiny").models["line"].learning_rate
    rates = sorted({run.task.learning_rate for run in suite.runs})
    assert len(rates) == 4
    assert rates[1] == pytest.approx(own)
    assert {run.task.seed for run in suite.runs}.isdisjoint({0, 1})


def values_of(tuning, table):
    return {
        run.identity: table[run.variant.name].get(run.task.learning_rate) for run in tuning.trials
    }


def test_verdicts_are_run_as_swapped_in_and_at_each_ones_best(load):
    suite = load("- {domain: tiny, models: [line], tuning: {rates: [0.1, 0.2, 0.4]}}")
    (tuning,) = suite.tunings
    table = {"native": {0.1: 0.9, 0.2: 0.8, 0.4: 0.7}, "dyt": {0.1: 0.5, 0.2: 0.85, 0.4: None}}
    runs, said = chosen(tuning, values_of(tuning, table), ACCURACY)
    assert {run.task.learning_rate for run in runs} == {0.1}
    assert [run.variant for run in runs[:3]] == [
        Variant(),
        DYT,
        replace(DYT, learning_rate=0.2, tuned=True),
    ]
    assert len(runs) == 6
    assert runs[2].variant.label == "dyt tuned"
    assert resolve(runs[2]).task.learning_rate == 0.2
    assert resolve(runs[1]).task.learning_rate == 0.1
    assert "native 0.1, dyt 0.2" in said


def test_a_plateau_is_measured_at_natives_best_rate_with_twice_the_steps(load):
    suite = load("- {domain: tiny, models: [line], plateau: measured, tuning: {rates: [0.1, 0.2]}}")
    (tuning,) = suite.tunings
    table = {"native": {0.1: 0.8, 0.2: 0.9}, "dyt": {0.1: 0.8, 0.2: 0.9}}
    runs, _ = chosen(tuning, values_of(tuning, table), ACCURACY)
    longer = [run for run in runs if run.task.steps == 8]
    assert [(r.variant, r.task.learning_rate, r.task.seed) for r in longer] == [
        (Variant(), 0.2, 0),
        (Variant(), 0.2, 1),
    ]
    assert len(runs) == 6


def test_a_rate_at_which_a_trial_was_lost_is_out(load):
    suite = load("- {domain: tiny, models: [line], tuning: {rates: [0.1, 0.2]}}")
    (tuning,) = suite.tunings
    values = values_of(tuning, {"native": {0.1: 0.5, 0.2: 0.9}, "dyt": {}})
    lost = next(r for r in tuning.trials if r.variant.is_native and r.task.learning_rate == 0.2)
    runs, said = chosen(tuning, values | {lost.identity: None}, ACCURACY)
    assert {run.task.learning_rate for run in runs} == {0.1}
    assert [run.variant.label for run in runs] == ["native", "dyt"] * 2
    assert "dyt no rate" in said
    assert chosen(tuning, {}, ACCURACY)[0] == []


def test_rates_that_were_found_before_are_named(load):
    suite = load(
        "- domain: tiny\n  models: [line]\n  split: test\n  learning_rate: 0.3\n"
        "  variants: [native, dyt, {name: dyt, learning_rate: tuned}]\n  tuned_rates: {dyt: 0.1}"
    )
    variants = [run.variant for run in suite.runs[:3]]
    assert variants[2] == replace(DYT, learning_rate=0.1, tuned=True)
    assert {run.task.learning_rate for run in suite.runs} == {0.3}
    run = suite.runs[2]
    again = run_of(run.parameters())
    assert again.variant == run.variant
    assert again.task == replace(run.task, metrics=())


def test_a_rate_of_its_own_is_in_label_and_identity():
    task = run_of({"variant": "native", **_task()}).task
    plain, own = (
        Run(task=task, variant=DYT),
        Run(task=task, variant=replace(DYT, learning_rate=0.1)),
    )
    assert own.variant.label == "dyt lr=0.1"
    assert plain.identity != own.identity


def _task():
    return {
        "domain": "tiny",
        "model": "line",
        "dataset": "noise",
        "steps": 4,
        "batch_size": 8,
        "learning_rate": 0.1,
        "val_every": 4,
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "learning_rate: tuned, tuning: {rates: [0.1, 0.1, zero]}",
            "input should be a valid number",
        ),
        ("tuning: {rates: [0.1]}", "at least 2 items"),
        ("tuning: {rates: [0.1, 0.2], seeds: [1]}", "trials need seeds of their own: 1 are"),
        ("tuning: {rate: [0.1, 0.2]}", "unknown key 'rate'"),
        ("tuning: {rates: [0.1, 0.2]}, learning_rate: 0.1", "leave learning_rate out"),
        ("tuning: {rates: [0.1, 0.2]}, variants: [dyt]", "the first variant must be native"),
        (
            "variants: [native, {name: dyt, learning_rate: tuned}]",
            "give it, for example tuned_rates",
        ),
        ("tuned_rates: {dyt: 0.1}", "unknown tuned variant 'dyt'"),
        ("variants: [{name: native, learning_rate: 0.1}]", "its rate is the task's"),
        (
            "variants: [native, {name: dyt, learning_rate: 0.1, tuned: true}]",
            "both choose the rate",
        ),
        ("learning_rate: tunde", "input should be a valid number, got 'tunde'"),
        ("split: half", "input should be '', 'tuning' or 'test', got 'half'"),
    ],
)
def test_slips_are_told_with_their_line(load, entry, said):
    with pytest.raises(UserError) as told:
        load(f"- {{domain: tiny, models: [line], {entry}}}")
    assert said in str(told.value)
    assert "s.yaml" in str(told.value)
