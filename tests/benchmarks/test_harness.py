"""The harness's own measurements: forecasts, false words on time, slots, busy neighbours."""

import numpy as np
import pytest
from benchmarks.harness import forecast as forecasting
from benchmarks.harness.busy import WARMUP, Line, Way, measured
from benchmarks.harness.same_model import COPY, judged
from benchmarks.harness.scale import Scaled, exceeded, planned
from benchmarks.harness.slots import SUITE, differing, numbers, slots
from click.testing import CliRunner

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.plugin.task import AA
from dyt_bench.suite.expand import load_suite


def builds(slower, *, number=6, rounds=9):
    generator = np.random.default_rng(0)
    for _ in range(number):
        seconds = generator.normal(1.0, 0.01, (3, rounds))
        yield dict(
            zip(("native", COPY, AA), (seconds * [[1], [slower], [1]]).tolist(), strict=True)
        )


@pytest.mark.parametrize(
    ("slower", "false", "word"), [(1.0, 0.0, "no difference"), (1.2, 1.0, "slower")]
)
def test_words_on_a_copy_are_counted_over_all_threes(slower, false, word):
    found = judged(list(builds(slower)))
    assert (found["builds"], found["false_words"], found["word"]) == (6, false, word)
    assert found["ratio"][0] == pytest.approx(slower, rel=0.02)


def test_slots_train_at_least_twenty_runs():
    assert len(load_suite(SUITE, discover()).runs) >= 20


def test_times_are_not_compared():
    rows = [{"step": 1, "time": 2.0, "train/loss": 0.5, "time/step_ms": 9.0, "system/x": 1.0}]
    assert numbers(rows) == [{"step": 1, "train/loss": 0.5}]


def test_runs_that_differ_or_are_missing_are_named():
    one = {"a": [{"step": 1, "train/loss": 0.5}], "b": []}
    assert differing(one, one) == []
    assert differing(one, {"a": [{"step": 1, "train/loss": 0.5000001}]}) == ["a", "b"]


@pytest.mark.slow
def test_one_slot_and_two_compute_the_same():
    chosen = ("--models", "vit", "--steps", "2", "--seeds", "1", "--rounds", "1")
    ended = CliRunner().invoke(slots, chosen)
    assert ended.exit_code == 0, ended.output
    *_, faster, same = ended.output.splitlines()
    assert faster.startswith("two slots train ")
    assert same == "the 2 results are to the bit the same"


def test_a_line_says_by_how_much_and_at_which_rate():
    said = str(Line(Way("two runs", 1, "active", runs=2), alone=0.1, beside=0.25))
    assert "100.0 ms alone" in said
    assert "250.0 ms beside them (x2.50)" in said
    assert "8.0 steps a second in all" in said


@pytest.mark.slow
def test_two_runs_are_timed_alone_and_beside_a_neighbour():
    line = measured(Way("two", 1, "passive", runs=2), "vision/vit-w32", WARMUP + 1, 1)
    assert line.alone > 0
    assert line.beside > 0


def test_the_forecast_takes_a_suite_that_ships(monkeypatch):
    seen = []

    def forecast_on(suite, *_):
        seen.append(suite.name)
        return None, []

    monkeypatch.setattr(forecasting, "forecast_on", forecast_on)
    done = CliRunner().invoke(forecasting.forecast, [])
    assert done.exit_code == 0, done.output
    assert seen == ["default"]


def scaled(runs, memory_kib=1.0, cpu_ms=1.0, behind_s=None):
    return Scaled(runs, cpu_ms=cpu_ms, wall_s=1.0, memory_kib=memory_kib, behind_s=behind_s)


@pytest.mark.parametrize(
    ("quarter", "whole", "said"),
    [
        (scaled(100), scaled(400), []),
        (scaled(100), scaled(400, cpu_ms=6.0), ["a run takes 6.0 ms of the planner, over 5"]),
        # The thread that sends to MLflow takes the interpreter from the planner.
        (scaled(100, behind_s=9.0), scaled(400, cpu_ms=6.0, behind_s=39.0), []),
        (
            scaled(100, behind_s=9.0),
            scaled(400, behind_s=41.0),
            ["MLflow is 41 s behind after 400 runs"],
        ),
        (scaled(100), scaled(400, memory_kib=3.0), ["memory grows faster than the number of runs"]),
    ],
)
def test_limits_of_planning(quarter, whole, said):
    assert exceeded(quarter, whole) == said


def test_the_planner_plans_made_up_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.harness.scale.RUN_S", 0.01)
    monkeypatch.setitem(EXECUTORS.own, "stub", "")  # which is forgotten afterwards
    found = planned(8, 4, tmp_path, mlflow=False)
    assert found.runs == 8
    assert found.cpu_ms > 0
    assert found.behind_s is None
