"""Forecasts from records made by hand, what a budget leaves out, and one real probe."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record, Result
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.forecast import Forecast, Line, describe, forecast, key, prune
from dyt_bench.suite.expand import Suite


def make_task(model="vit", seed=0, steps=100):
    return Task(
        domain="vision",
        model=model,
        dataset="digits",
        seed=seed,
        steps=steps,
        batch_size=4,
        learning_rate=1e-3,
        val_every=steps // 2,
    )


def run_of(folder, run, *, step_s=0.1, memory=500.0, start=1000.0):
    """A record: 2 s until the first validation's end, steps, validations of half a second."""
    record = Record(folder)
    record.begin(run, {})
    rows = [{"step": 0, "time": start + 2, "val/loss": 1.0}]
    now = start + 2
    for step in range(1, run.task.steps + 1):
        now += step_s
        rows.append({"step": step, "time": now, "train/loss": 1.0})
        if step % run.task.val_every == 0:
            now += 0.5
            rows.append({"step": step, "time": now, "val/loss": 1.0})
    record.rows_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {
        "time/step_ms_median": step_s * 1e3,
        "memory/peak_mib": memory,
        "model/parameters": 1e6,
    }
    last = {"step": float(run.task.steps), "val/loss": 1.0}
    record.finish(
        Result(status="finished", started=start, ended=now + 1, last=last, summary=summary)
    )


def suite_of(*runs):
    return Suite(name="s", title="", kind="training", runs=runs)


@pytest.fixture
def space(tmp_path):
    space = Workspace(tmp_path / "ws")
    space.create()
    return space


def test_an_earlier_run_foretells_one_of_another_length(space):
    run_of(space.runs / "earlier", Run(task=make_task(steps=100)))
    longer = Run(task=make_task(steps=400, seed=7))
    (line,) = forecast(suite_of(longer), space).lines
    assert line.seconds == pytest.approx(3 + 400 * 0.1 + 2 * 0.5, rel=0.02)
    assert (line.memory_mib, line.source) == (500.0, "earlier run")
    assert line.disk_bytes > 0
    assert line.checkpoint_bytes == 12e6


def test_a_run_counts_for_more_than_a_probe(space):
    run = Run(task=make_task())
    (space.folder / "probes").mkdir()
    run_of(space.folder / "probes" / "p", Run(task=make_task(steps=8)), step_s=9.0, start=9e9)
    run_of(space.runs / "c", Run(task=make_task(seed=1)))
    (line,) = forecast(suite_of(run), space).lines
    assert line.source == "earlier run"


def test_what_is_done_costs_nothing_and_what_is_new_is_not_known(space):
    done, new = Run(task=make_task()), Run(task=make_task(), variant=Variant(name="dyt"))
    run_of(space.record(done).folder, done)
    found = forecast(suite_of(done, new), space)
    assert [(line.done, line.seconds) for line in found.lines] == [(True, 0.0), (False, None)]
    assert found.unknown == [new]
    assert "nothing is known yet of 1 run: --probe" in describe(found)


def test_timing_norms_in_turn_is_counted_once_a_task(space):
    task = make_task()
    pair = (Run(task=task), Run(task=task, variant=Variant(name="dyt")))
    for i, run in enumerate(pair):
        run_of(space.runs / str(i), replace(run, task=make_task(seed=9)))
    alone = forecast(suite_of(*pair[:1]), space).seconds
    both = forecast(suite_of(*pair), space).seconds
    assert both == pytest.approx(2 * alone + 2 * 3 + 13 * 0.3, rel=0.02)


def test_what_does_not_fit_this_machine_is_said(space):
    run_of(space.runs / "c", Run(task=make_task(seed=1)), memory=1e9)
    (line,) = forecast(suite_of(Run(task=make_task())), space).lines
    assert line.problem.startswith("does not fit: it takes 1,000,000,000 MiB of memory")


def lines(costs):
    """(model, seed) -> seconds, as a forecast."""
    return Forecast(
        tuple(
            Line(Run(task=make_task(model, seed)), False, cost, 1.0, 1.0, 0.0, "probe")
            for (model, seed), cost in costs.items()
        )
    )


def test_a_budget_drops_the_last_seeds_first_and_then_dear_tasks():
    costs = {(m, s): {"a": 10.0, "b": 30.0}[m] for s in range(3) for m in "ab"}
    kept = prune(lines(costs), 85)
    assert {run.task.seed for run in kept.runs} == {0, 1}
    assert kept.dropped == ("seed 2, which takes 40 s",)
    kept = prune(lines(costs), 15)
    assert [(run.task.model, run.task.seed) for run in kept.runs] == [("a", 0)]
    assert kept.dropped[-1] == "vision/b/digits, which takes 30 s"
    assert prune(lines(costs), 1000).dropped == ()
    with pytest.raises(UserError, match="nothing of the suite fits 5 s: one seed of the cheapest"):
        prune(lines(costs), 5)
    with pytest.raises(UserError, match=r"nothing is known yet of vision/a/digits/s0.*--probe"):
        prune(lines({("a", 0): None}), 5)


def test_seed_and_budget_make_no_other_cost_but_norm_and_batch_do():
    run = Run(task=make_task())
    same = Run(task=make_task(seed=3, steps=10))
    assert key(run.parameters()) == key(same.parameters())
    others = [
        Run(task=run.task, variant=Variant(name="dyt")),
        Run(task=replace(run.task, batch_size=8)),
    ]
    assert all(key(run.parameters()) != key(other.parameters()) for other in others)


@pytest.mark.slow
def test_a_probe_tells_what_a_suite_takes(tmp_path):
    """The whole way once, in processes of their own; the parent never imports torch."""
    (tmp_path / "suite.yaml").write_text(
        "name: s\nseeds: [0, 1]\ntasks:\n- {domain: vision, models: [convnext], steps: 40}\n"
    )
    script = """
import json, sys
from dyt_bench.cli import main
try:
    main(["plan", "suite.yaml", "--probe", "--budget", "2h", "--json"])
except SystemExit as end:
    assert not end.code
assert not {"torch", "lightning", "numpy"} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("probing") == 2  # two variants; the second seed costs the same
    plan = json.loads(run.stdout)
    assert len(plan["runs"]) == 4
    for run in plan["runs"]:
        assert run["source"] == "probe"
        assert run["seconds"] > 40 * 0.001
        assert run["memory_mib"] > 50
        assert run["samples"] == 40 * run["batch_size"]
        assert run["state"] == "waiting"
        assert run["fits_budget"]
