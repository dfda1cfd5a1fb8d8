"""Which seeds `--until decided` adds, when it stops, and how often it is wrong."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.scheduling.stopping import LOOKS, MOST_SEEDS, RunScore, next_runs

METRICS = {"d": Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)}
DYT, DERF = Variant(name="dyt"), Variant(name="derf")


def runs(values, model="m", seeds=None):
    """Runs and outcomes: variant -> values by seed, repeated to so many, each of ten seconds."""
    if seeds is not None:
        values = {variant: (own * seeds)[:seeds] for variant, own in values.items()}
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


def test_only_what_is_open_gets_the_seeds_up_to_the_next_look():
    made, outcomes = runs({Variant(): NATIVE, DYT: CLEAR, DERF: OPEN}, seeds=5)
    decision = next_runs(made, outcomes, METRICS, None)
    tasks = [replace(made[0].task, seed=seed) for seed in (5, 6, 7)]
    assert LOOKS[:3] == (3, 5, 8)
    assert decision.runs == tuple(
        Run(task=task, variant=variant) for task in tasks for variant in (Variant(), DERF)
    )


def test_it_stops_when_every_verdict_stands():
    made, outcomes = runs({Variant(): NATIVE, DYT: CLEAR}, seeds=5)
    decision = next_runs(made, outcomes, METRICS, None)
    assert decision.runs == ()
    assert decision.why == "every verdict stands"


def test_no_verdict_stands_before_three_seeds():
    made, outcomes = runs({Variant(): NATIVE[:2], DYT: CLEAR[:2]})
    assert len(made) // 2 < LOOKS[0]
    assert len(next_runs(made, outcomes, METRICS, None).runs) == 2


def test_the_budget_takes_the_cheapest_first_and_then_stops():
    made, outcomes = runs({Variant(): NATIVE, DYT: OPEN}, "expensive")
    more, others = runs({Variant(): NATIVE, DYT: OPEN}, "cheap")
    others = {identity: replace(outcome, seconds=1.0) for identity, outcome in others.items()}
    made, outcomes = made + more, outcomes | others
    assert len(next_runs(made, outcomes, METRICS, 45).runs) == 8  # two seeds each, to the next look
    within = next_runs(made, outcomes, METRICS, 41)
    assert [run.task.model for run in within.runs] == ["cheap"] * 4
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
        page = folder / ".dyt-bench" / "results" / "until" / "README.md"
        page = page.read_text() if page.exists() else ""
        return json.loads(ran.stdout)["runs"], " ".join(ran.stderr.split()), page

    return run("--budget", "1s"), run()


@pytest.mark.slow
def test_a_spent_budget_adds_no_seed_and_says_what_is_open(decided):
    runs, said, _ = decided[0]
    assert len(runs) <= 2
    assert "the budget is spent" in said


@pytest.mark.slow
def test_the_same_command_without_a_budget_adds_seeds_until_the_verdict_stands(decided):
    runs, said, page = decided[1]
    assert len(runs) >= 2 * LOOKS[0]
    assert len(runs) % 2 == 0
    assert {run["status"] for run in runs} == {"finished"}
    assert len(runs) // 2 in LOOKS
    assert "4 runs more: 1 model has open verdicts" in said
    assert "done: every verdict stands" in said
    assert f"better (n={len(runs) // 2}; p=" in page  # so small a budget is enough for less
