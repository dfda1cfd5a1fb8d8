"""Which seeds `--until decided` adds, when it stops, and how often it is wrong."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.scheduling.stopping import FIRST_SEEDS, MOST_SEEDS, STANDS, RunScore, next_runs

METRICS = {"d": Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)}
DYT, DERF = Variant(name="dyt"), Variant(name="derf")


def runs(values, model="m"):
    """Runs and outcomes: variant -> values by seed, each run of ten seconds."""
    made, outcomes = [], {}
    for seed in range(max(map(len, values.values()))):
        task = Task(
            domain="d",
            model=model,
            dataset="x",
            seed=seed,
            steps=10,
            batch_size=4,
            learning_rate=1e-3,
            val_every=10,
        )
        for variant, own in values.items():
            if seed < len(own):
                made.append(Run(task=task, variant=variant))
                outcomes[made[-1].identity] = RunScore(own[seed], 10.0)
    return made, outcomes


CLEAR = [0.5, 0.501, 0.5]  # against 0.9: decided, and stands
OPEN = [0.95, 0.91, 0.99]
NATIVE = [0.9, 0.901, 0.9]


def test_only_what_is_open_gets_another_seed():
    made, outcomes = runs({Variant(): NATIVE, DYT: CLEAR, DERF: OPEN})
    decision = next_runs(made, outcomes, METRICS, None)
    task = replace(made[0].task, seed=3)
    assert decision.runs == (Run(task=task), Run(task=task, variant=DERF))


def test_it_stops_when_every_verdict_stands():
    made, outcomes = runs({Variant(): NATIVE, DYT: CLEAR})
    decision = next_runs(made, outcomes, METRICS, None)
    assert decision.runs == ()
    assert decision.why == "every verdict stands"


def test_no_verdict_stands_before_three_seeds():
    made, outcomes = runs({Variant(): NATIVE[:2], DYT: CLEAR[:2]})
    assert len(made) // 2 < FIRST_SEEDS
    assert len(next_runs(made, outcomes, METRICS, None).runs) == 2


def test_the_budget_takes_the_cheapest_first_and_then_stops():
    made, outcomes = runs({Variant(): NATIVE, DYT: OPEN}, "expensive")
    more, others = runs({Variant(): NATIVE, DYT: OPEN}, "cheap")
    others = {identity: replace(outcome, seconds=1.0) for identity, outcome in others.items()}
    made, outcomes = made + more, outcomes | others
    assert len(next_runs(made, outcomes, METRICS, 30).runs) == 4
    within = next_runs(made, outcomes, METRICS, 21)
    assert [run.task.model for run in within.runs] == ["cheap", "cheap"]
    nothing = next_runs(made, outcomes, METRICS, 1)
    assert nothing.runs == ()
    assert nothing.why == "the budget is spent; 2 models have open verdicts"


def test_a_variant_that_diverged_and_one_without_a_native_norm_are_left_alone():
    made, outcomes = runs({Variant(): NATIVE, DYT: [0.9, None, 0.9]})
    assert next_runs(made, outcomes, METRICS, None).runs == ()
    made, outcomes = runs({DYT: OPEN})
    assert next_runs(made, outcomes, METRICS, None).runs == ()


def test_it_gives_up_after_many_seeds():
    noise = [0.9 + 0.1 * (-1) ** i for i in range(MOST_SEEDS)]
    made, outcomes = runs({Variant(): [0.9] * MOST_SEEDS, DYT: noise})
    decision = next_runs(made, outcomes, METRICS, None)
    assert decision.runs == ()
    assert decision.why == "every verdict stands, but for 1 that 20 seeds left open"


@pytest.mark.parametrize(("most", "naive", "guarded"), [(10, 0.17, 0.064), (20, 0.23, 0.070)])
def test_looking_after_every_seed_calls_equals_different_seldom(most, naive, guarded):
    """The share of 4,000 comparisons of equals that end as better or worse."""
    gains = np.random.default_rng(0).normal(size=(4000, most))

    def wrong(confidence):
        stopped = np.zeros(len(gains), bool)
        for n in range(FIRST_SEEDS, most + 1):
            level = 0.95 if n == most else confidence
            p = stats.ttest_1samp(gains[:, :n], 0, axis=1).pvalue
            stopped |= p < 1 - level
        return stopped.mean()

    assert wrong(0.95) == pytest.approx(naive, abs=0.03)
    assert wrong(STANDS) == pytest.approx(guarded, abs=0.015)


UNTIL = """
name: until
variants: [native, {name: dyt, alpha_init_value: 1.0e-9}]
seeds: [0]
steps: 60
tasks:
- {domain: tiny, models: [line], learning_rate: 0.05}
"""


@pytest.fixture(scope="module")
def decided(tiny, tmp_path_factory):
    """A run of a layer that passes nothing on, with --until decided, twice."""
    folder = tmp_path_factory.mktemp("until")
    (folder / "suite.yaml").write_text(UNTIL)

    def run(*options):
        command = [sys.executable, "-m", "dyt_bench", "run", "suite.yaml", "--until", "decided"]
        ran = subprocess.run(
            [*command, "--json", *options], cwd=folder, env=tiny, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        page = (folder / "results" / "README.md").read_text()
        return json.loads(ran.stdout)["runs"], " ".join(ran.stderr.split()), page

    return run("--budget", "1s"), run()


def test_a_spent_budget_adds_no_seed_and_says_what_is_open(decided):
    runs, said, _ = decided[0]
    assert len(runs) == 2
    assert "done: the budget is spent; 1 model has open verdicts" in said


def test_the_same_command_without_a_budget_adds_seeds_until_the_verdict_stands(decided):
    runs, said, page = decided[1]
    assert len(runs) >= 2 * FIRST_SEEDS
    assert len(runs) % 2 == 0
    assert {run["status"] for run in runs} == {"finished"}
    assert said.count("2 runs more: 1 model has open verdicts") == len(runs) // 2 - 1
    assert "done: every verdict stands" in said
    assert f"better (n={len(runs) // 2})" in page  # so small a budget is enough for less
