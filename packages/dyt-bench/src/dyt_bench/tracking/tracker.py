"""Fills MLflow while a suite runs; training never waits for it.

One thread reads the records and sends what is new. A server that does not answer is retried at
growing intervals; what it missed is in the records, and is sent once it answers.
"""

import queue
import threading
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
from dyt_bench.tracking.store import KIND_TAG, Store, points, prepare
from dyt_bench.tracking.summary import DrawGroup, Preview, Summaries
from dyt_bench.verdicts.runs import MetricOf

SEND_EVERY_S = 2.0
ASK_AGAIN_S = 30.0  # the longest pause while a server does not answer
CLOSE_S = 60.0  # how long to wait at the end for a store that accepts data


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
        self.problem: str | None = None  # why MLflow lacks something; None if it does not
        self._store = Store(uri, experiment, workspace.artifacts)
        self._current = False  # whether the store is open and its content known
        self._repaired = False
        self._followed: list[_Item] = []
        self._new: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

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
            self.problem = outage(self.uri)
        else:
            self._open()
        self._thread.start()
        for each in self.copies:
            each.start()

    def follow(self, record: Record) -> None:
        """Mirror the record from now on, until it has a result or the tracker closes."""
        self._new.put(Mirror(record, self.workspace.origin))
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
        self._new.put(_Measurement(name, params, metrics, tags))

    def preview(self, suite: str, title: str, runs: Sequence[Run], metric_of: MetricOf) -> None:
        """Publish views and summaries of a suite, and keep them current as its runs end."""
        self._new.put(Preview(suite, title, runs, self.workspace, metric_of))

    def summarize(
        self, listed: SuiteRuns, records: Sequence[Record], metric_of: MetricOf, draw: DrawGroup
    ) -> None:
        """Publish views and summaries of a suite whose runs have ended, with figures.

        Args:
            draw: draws the figures of a group; called in the thread that sends.
        """
        self._new.put(Summaries(listed, records, self.workspace, metric_of, draw))

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Send what remains and stop; runs without a result are marked as killed.

        Args:
            patience_s: the longest to wait for that. A server that does not answer is not
                waited for.
        """
        self._closing.set()
        for each in self.copies:
            each.close(patience_s)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.problem = self.problem or "the store is too slow"
        elif self._followed or not self._new.empty():
            self.problem = self.problem or "not everything was sent"

    def _work(self) -> None:
        pause = 0.0
        while True:
            closing = self._closing.wait(pause)
            while not self._new.empty():
                self._followed.append(self._new.get())
            try:
                sent = self._send(last=closing)
            except BaseException as error:  # the thread is all that sends: it goes on
                self.problem, sent = self._said(error), False
            pause = SEND_EVERY_S if sent else min(2 * pause + 1, ASK_AGAIN_S)
            if closing:
                return

    def _send(self, *, last: bool) -> bool:
        """Send once what is new of everything; False if the store did not accept it all."""
        failure: str | None = None
        followed = list(self._followed)
        for item in followed:
            try:
                self._open()
                if item.send(self._store, last=last):
                    self._followed.remove(item)
            except Exception as error:  # a tracker's outage must not reach training
                self._current = False
                failure = self._said(error)
                if (away := self._outage()) is not None:
                    failure = away
                    break
        if followed:
            self.problem = failure
        return failure is None

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
