"""Suites that run in milliseconds: an executor without processes, and no MLflow."""

from contextlib import contextmanager

from dyt_bench.plugin.task import AA, Task
from dyt_bench.records.record import Result


class InstantExecutor:
    """Trains nothing: a run's loss is its own, from its model, seed and variant."""

    trained = []  # labels, in the order in which they ran
    metric = "val/loss"

    def __init__(self, preload):
        pass

    @contextmanager
    def run(self, job, log, limits=None):
        _, job = job.args  # what its slot owns, and what is done in it
        of = job.args[0]
        if isinstance(of, Task):  # a task to time
            labels = [variant.label for variant in job.args[1]]
            seconds = {label: [1.0, 1.1, 1.2] for label in [*labels, AA]}
            yield iter([{"event": "outcome", "value": seconds}])
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

    def __init__(self, uri, experiment, workspace, copies=()):
        self.uri, self.copies = uri, copies

    def connect(self): ...
    def follow(self, record): ...
    def preview(self, *about): ...
    def summarize(self, *about): ...
    def close(self, patience_s=0.0): ...
