"""Fills MLflow while a suite runs, from the records; training never waits for it."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from dyt_bench.plugin.task import Run
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import SuiteRuns, Workspace
from dyt_bench.tracking.address import hidden, is_remote, outage
from dyt_bench.tracking.copies import Copies
from dyt_bench.tracking.mirror import Mirror
from dyt_bench.tracking.relocate import follow
from dyt_bench.tracking.repair import repair
from dyt_bench.tracking.sender import CLOSE_S, Away, Sender
from dyt_bench.tracking.store import KIND_TAG, Store, points, prepare
from dyt_bench.tracking.summary import DrawGroup, Preview, Summaries
from dyt_bench.verdicts.runs import MetricOf

SENDER = "mlflow"  # the name of the thread that sends


class _Item(Protocol):
    """Something to send; ``send`` returns True once nothing more will come."""

    def send(self, store: Store, *, last: bool) -> bool: ...


class Tracker:
    """Mirrors records into one MLflow experiment, and whatever is copied elsewhere beside it.

    Args:
        copies: to other trackers, which get what this one follows.
    """

    def __init__(
        self, uri: str, experiment: str, workspace: Workspace, copies: Sequence[Copies] = ()
    ) -> None:
        self.uri = uri
        self.workspace, self.copies = workspace, copies
        self._store = Store(uri, experiment, workspace.artifacts)
        self._current = False  # whether the store is open and its content known
        self._repaired = False
        self._sender = Sender[_Item](SENDER, self._send, self._said, "the store is too slow")

    @property
    def problem(self) -> str | None:
        """Why MLflow lacks something; None if it does not."""
        return self._sender.problem

    @property
    def experiment_id(self) -> str:
        """Empty until the store has answered."""
        return self._store.experiment_id

    def connect(self) -> None:
        """Open the store and start the thread that sends; it retries a server that is down.

        Afterwards `problem` says whether a server answered.

        Raises:
            UserError: the store can never be used: unknown kind, not MLflow, not writable.
        """
        prepare()
        follow(self.workspace, self.uri)
        if is_remote(self.uri):
            self._sender.problem = outage(self.uri)
        else:
            self._open()
        self._sender.start()
        for each in self.copies:
            each.start()

    def follow(self, record: Record) -> None:
        """Mirror the record from now on, until it has a result or the tracker closes."""
        self._sender.follow(Mirror(record, self.workspace.origin))
        for each in self.copies:
            each.follow(record)

    def log_run(
        self,
        name: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """Add a finished run of a measurement, which has no record."""
        self._sender.follow(_Measurement(name, params, metrics, tags))

    def preview(self, suite: str, title: str, runs: Sequence[Run], metric_of: MetricOf) -> None:
        """Publish views and summaries of a suite, and keep them current as its runs end."""
        self._sender.follow(Preview(suite, title, runs, self.workspace, metric_of))

    def summarize(
        self, listed: SuiteRuns, records: Sequence[Record], metric_of: MetricOf, draw: DrawGroup
    ) -> None:
        """Publish views and summaries of a suite whose runs have ended, with figures.

        Args:
            draw: draws the figures of a group; called in the thread that sends.
        """
        self._sender.follow(Summaries(listed, records, self.workspace, metric_of, draw))

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Send what remains and stop; runs without a result are marked as killed.

        Args:
            patience_s: the longest to wait for that. A server that does not answer is not
                waited for.
        """
        for each in self.copies:
            each.close(patience_s)
        self._sender.close(patience_s)

    def _send(self, item: _Item, last: bool) -> bool:
        try:
            self._open()
            return item.send(self._store, last=last)
        except Exception:
            self._current = False
            if (away := self._outage()) is not None:
                raise Away(away) from None
            raise

    def _open(self) -> None:
        """Open or reload the store, unless its content is known; after a failure it is not."""
        if self._current:
            return
        if (away := self._outage()) is not None:
            raise ConnectionError(away)
        if self.experiment_id:
            self._store.load()
        else:
            self._store.open()
        if not self._repaired:  # no run of this workspace has started yet
            repair(self._store, self.workspace.identity)
            self._repaired = True
        self._current = True

    def _outage(self) -> str | None:
        try:
            return outage(self.uri)
        except ValueError as error:  # what answers is no longer MLflow, or refuses this user
            return str(error)

    def _said(self, error: BaseException) -> str:
        lines = str(error).splitlines()
        return hidden(": ".join([type(error).__name__, *lines[:1]]), self.uri)


class _Measurement:
    """A run that is complete when it is created."""

    def __init__(
        self,
        name: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        self.name, self.params, self.metrics, self.tags = name, params, metrics, tags
        self.time = time.time()

    def send(self, store: Store, *, last: bool) -> bool:
        from mlflow.entities import Param

        key = f"{self.name}@{self.time}"
        tags = {**self.tags, KIND_TAG: "measurement"}
        store.enter(key, name=self.name, started=self.time, tags=tags)
        known = store.runs[key]
        params = [Param(name, value) for name, value in self.params.items()]
        store.client.log_batch(known.run_id, params=params)
        store.log_points(known.run_id, points({**self.metrics, "step": 0, "time": self.time}))
        store.terminate(known, "FINISHED", self.time)
        return True
