"""Results belong to runs by identity, in whatever order the runs ran."""

import json

import pytest

from ..instant import InstantExecutor, loss_of

# The task of `line` is listed twice, with `slow` between: it runs in one piece, before `slow`.
SHARED = """\
name: shared
steps: 4
executor: instant
tasks:
- {domain: tiny, models: [line, slow], variants: [native]}
- {domain: tiny, models: [line], variants: [dyt, derf]}
"""


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SHARED)


def test_runs_have_their_own_results_where_two_entries_share_a_task(instant, shared):
    ended = instant("run", "s.yaml", "--json")
    assert ended.exit_code == 0, ended.output
    runs = json.loads(ended.stdout)["runs"]
    assert [run["label"] for run in runs] != InstantExecutor.trained  # else nothing is tested
    assert {run["label"]: run["last"]["val/loss"] for run in runs} == {
        label: pytest.approx(loss_of(label)) for label in InstantExecutor.trained
    }


def test_reasons_are_said_of_the_runs_they_are_of(instant, shared, monkeypatch):
    def fails(self, job, log, limits=None):
        of = job.args[1].args[0]
        if hasattr(of, "variant") and of.task.model == "slow":
            raise JobFailed("it is slow")
        return run(self, job, log, limits)

    from dyt_bench.executors.contract import JobFailed

    run = InstantExecutor.run
    monkeypatch.setattr(InstantExecutor, "run", fails)
    ended = instant("run", "s.yaml")
    assert ended.exit_code == 1
    (said,) = [
        line
        for line in ended.stderr.splitlines()
        if "it is slow (see" in line and "/s0" in line and not line.startswith(" ")
    ]
    assert said.startswith("tiny/slow/noise/s0 native: failed: ")


def test_seeds_are_added_by_each_runs_own_result(instant, shared, monkeypatch):
    """`dyt` is worse at every seed by the same amount; `slow` has nothing to compare."""
    ended = instant("run", "s.yaml", "--until", "decided", "--json")
    assert ended.exit_code == 0, ended.output
    runs = json.loads(ended.stdout)["runs"]
    assert {run["label"]: run["last"]["val/loss"] for run in runs} == {
        label: pytest.approx(loss_of(label)) for label in InstantExecutor.trained
    }
    assert len(runs) == len({run["identity"] for run in runs}) == len(InstantExecutor.trained) > 4
