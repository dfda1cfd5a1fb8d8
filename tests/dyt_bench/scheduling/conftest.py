"""Suites that run in milliseconds: an executor without processes, and no MLflow."""

import signal
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.records.record import Result
from dyt_bench.scheduling import session


class InstantExecutor:
    """Trains nothing: a run's loss is its own, from its model, seed and variant."""

    trained = []  # labels, in the order in which they ran
    metric = "val/loss"

    def __init__(self, preload):
        pass

    @contextmanager
    def run(self, job, log, limits=None):
        of = job.args[0]
        if not hasattr(of, "variant"):  # a task to time
            yield iter([{"event": "outcome", "value": {}}])
            return
        self.trained.append(of.label)
        row = {"step": float(of.task.steps), self.metric: loss_of(of.label)}
        job.args[1].append(of.task.steps, {self.metric: row[self.metric]})
        outcome = Result(status="finished", started=1.0, ended=2.0, first=row, best=row, last=row)
        yield iter([{"event": "outcome", "value": outcome}])


def loss_of(label):
    """A number for each label."""
    return sum(label.encode()) / 1e4


class NoTracker:
    """MLflow that takes everything."""

    problem = None
    experiment_id = "0"

    def __init__(self, uri, experiment, workspace):
        self.uri = uri

    def connect(self): ...
    def follow(self, record): ...
    def preview(self, *about): ...
    def summarize(self, *about): ...
    def close(self, patience_s=0.0): ...


@pytest.fixture
def instant(tiny, monkeypatch):
    """`dyt-bench` in this process, with runs that take no time: (arguments) -> what it said."""
    monkeypatch.setitem(EXECUTORS.own, "instant", f"{__name__}:InstantExecutor")
    monkeypatch.setattr(session, "Tracker", NoTracker)
    monkeypatch.setattr(InstantExecutor, "trained", [])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])
    for number, handler in handlers.items():
        signal.signal(number, handler)
