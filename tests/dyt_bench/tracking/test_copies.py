"""Copies of runs in other trackers: whole, once, and never in training's way."""

import json
import threading
import time

import pytest
from click.testing import CliRunner
from tests.dyt_bench.tracking.conftest import STEPS, a_run, result, train

from dyt_bench.cli import main
from dyt_bench.discovery.extensions import MIRRORS, mirrors_called
from dyt_bench.errors import UserError
from dyt_bench.tracking import sender
from dyt_bench.tracking.copies import Copies
from dyt_bench.tracking.sync import copy_suites


class Kept:
    """A mirror that keeps what it is sent, and fails when it is told to."""

    def __init__(self, folder=None, suite="made-up"):
        self.place, self.runs, self.begun, self.failures = "here", {}, [], 0

    def begin(self, run):
        self.run = run
        self.begun.append(run.key)
        self.runs[run.key] = {"about": run, "rows": [], "end": None}
        return OneKept(self, self.runs[run.key])


class OneKept:
    def __init__(self, mirror, own):
        self.mirror, self.own = mirror, own

    def log(self, rows):
        if self.mirror.failures:
            self.mirror.failures -= 1
            self.own["rows"] += rows[:3]  # a part arrives
            raise ConnectionError("it is away")
        self.own["rows"] += rows

    def finish(self, end):
        assert self.own["end"] is None
        self.own["end"] = end


@pytest.fixture
def mirror(monkeypatch):
    made = Kept()
    monkeypatch.setitem(MIRRORS.own, "kept", "unused:unused")
    load = type(MIRRORS).load

    def loaded(self, name):
        return (lambda folder, suite: made) if name == "kept" else load(self, name)

    monkeypatch.setattr(type(MIRRORS), "load", loaded)
    return made


@pytest.fixture
def copies(workspace, mirror, monkeypatch):
    monkeypatch.setattr(sender, "SEND_EVERY_S", 0.01)
    made = Copies("kept", mirror, workspace.folder / "kept.json", "made-up")
    made.start()
    yield made
    made.close(5)


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_run_is_copied_while_it_runs(copies, mirror, begin):
    run = a_run("dyt")
    record = begin(run)
    copies.follow(record)
    train(record, last=10)
    until(lambda: mirror.runs and len(next(iter(mirror.runs.values()))["rows"]) == 10)
    train(record, first=11)
    record.finish(result(run))
    until(lambda: next(iter(mirror.runs.values()))["end"] is not None)
    copies.close(5)
    (own,) = mirror.runs.values()
    assert own["rows"] == record.rows()
    assert (own["end"].status, own["end"].last["val/acc"]) == ("finished", 0.4)
    about = own["about"]
    assert (about.variant, about.group) == ("dyt", "vision/vit/digits")
    assert (about.parameters["seed"], about.parameters["steps"]) == (0, STEPS)
    assert about.tags["env.cpu"] == "abacus"
    assert copies.problem is None


def test_what_is_cut_off_is_killed_and_begun_again_when_it_resumes(workspace, mirror, begin):
    record = begin(a_run())
    train(record, last=15)
    first = Copies("kept", mirror, workspace.folder / "kept.json", "made-up")
    first.start()
    first.follow(record)
    first.close(5)
    (own,) = mirror.runs.values()
    assert own["end"].status == "killed"
    train(record, first=16)
    record.finish(result(a_run()))
    again = Copies("kept", mirror, workspace.folder / "kept.json", "made-up")
    again.start()
    again.follow(record)
    again.close(5)
    (own,) = mirror.runs.values()
    assert own["rows"] == record.rows()
    assert own["end"].status == "finished"


def test_an_outage_is_told_and_made_up_for(copies, mirror, begin, monkeypatch):
    monkeypatch.setattr(sender, "ASK_AGAIN_S", 0.01)
    mirror.failures = 2
    run = a_run()
    record = begin(run)
    train(record)
    copies.follow(record)
    until(lambda: copies.problem is not None or not mirror.failures)
    record.finish(result(run))
    until(lambda: next(iter(mirror.runs.values()))["end"] is not None)
    (own,) = mirror.runs.values()
    assert own["rows"] == record.rows()
    assert len(mirror.begun) == 3


def test_a_mirror_that_stays_away_is_a_problem_and_nothing_more(copies, mirror, begin):
    mirror.failures = 1000
    run = a_run()
    record = begin(run)
    train(record)
    record.finish(result(run))
    copies.follow(record)
    copies.close(5)
    assert copies.problem == "ConnectionError: it is away"


def test_what_is_whole_is_sent_once_and_again_with_its_step_time(workspace, mirror, suite):
    sent = copy_suites([], workspace, mirrors_called(["kept"]))
    assert [(each.suite, each.runs, each.new) for each in sent] == [("made-up", 4, 4)]
    assert len(mirror.begun) == 4
    assert copy_suites(["made-up"], workspace, mirrors_called(["kept"]))[0].new == 0
    assert len(mirror.begun) == 4
    ended = suite[0].result()
    ended.summary["time/step_ratio"] = 0.97
    suite[0].finish(ended)
    assert copy_suites([], workspace, mirrors_called(["kept"]))[0].new == 1
    assert mirror.begun[-1] == mirror.begun[0]
    assert mirror.runs[mirror.begun[0]]["end"].measured["time/step_ratio"] == 0.97


def test_sync_says_where_to_look_and_mistakes_are_a_sentence(workspace, mirror, suite):
    def said(*words):
        return CliRunner().invoke(main, ["sync", *words, "--workspace", str(workspace.folder)])

    done = said("--mirror", "kept")
    assert "made-up: 4 runs, 4 of them new to kept" in done.stdout
    assert "to look: here" in done.stdout
    assert json.loads(said("--mirror", "kept", "--json").stdout)[0]["new"] == 0
    mirror.failures = 1
    suite[0].finish(result(a_run(), value=0.3))
    away = said("--mirror", "kept")
    assert (away.exit_code, away.stderr.count("\n")) == (2, 1)
    assert "the mirror kept did not take" in away.stderr


def test_an_unknown_mirror_is_named():
    with pytest.raises(UserError, match=r"unknown mirror 'tensorbord'.*did you mean 'tensorboard'"):
        MIRRORS.load("tensorbord")
