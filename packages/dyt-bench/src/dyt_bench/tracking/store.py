"""An MLflow tracking store: whether it answers, one experiment in it, and that experiment's runs.

Each of our runs has a key as a tag, and is looked up by it before it is created. So a run is found
again if its creation was interrupted, or succeeded without an answer.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from dyt_bench.errors import UserError, printable
from dyt_bench.tracking.address import (
    check_database,
    hidden,
    is_served,
    set_timeout,
    shown,
    sqlite_path,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

KEY_TAG = "dyt_bench.key"
IDENTITY_TAG = "dyt_bench.run"  # the run's identity, which runs of several workspaces may share
KIND_TAG = "kind"  # "run", "earlier run" (no longer of its suite), "summary", "measurement"
GROUP_TAG = "group"  # name of the task group: "vision/vit"
# The variant's label. A tag and not a parameter, as views group by it, and MLflow colours groups by
# a hash of kind, name and value: as a parameter, native and dyt would have one colour.
VARIANT_TAG = "variant"
WORKSPACE_TAG = "dyt_bench.workspace"  # the identity of the one that made the run
MACHINE_TAG = "machine"  # its host, and the start of the workspace's identity
PLACE_TAG = "variant_machine"  # both in one: MLflow shortens names of groups by two tags
# With a workspace's identity after it: what the run is there, a "run" or an "earlier run".
MEMBER_TAG = "dyt_bench.of."
NOTE_TAG = "mlflow.note.content"  # Markdown that MLflow shows as the description

MEASURED = "measured."  # before the name of a number that is measured once

_LOCK_S = 60.0  # for another process to create the tables
_BATCH = 1000  # metrics in one request, MLflow's limit
_TAGS = 100  # in one request, MLflow's limit
_PAGE = 1000  # runs in one answer
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)
_DONE = ("FINISHED", "FAILED", "KILLED")


def prepare() -> None:
    """Import MLflow with few log messages, and with time-outs that suit a busy server."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    set_timeout()
    # MLflow prints addresses of runs to stdout, which --json needs for itself.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # A retry inside MLflow could create a run twice; the tracker looks it up before it retries.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for noisy in ("alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    import mlflow  # noqa: F401


@dataclass
class Known:
    """A run that is in the store."""

    run_id: str
    status: str
    start_time: int  # ms since the epoch
    end_time: int | None
    tags: dict[str, str]


@dataclass
class Store:
    """One experiment in the store at ``uri``; call `open` first."""

    uri: str
    experiment: str
    artifacts: Path  # of the workspace, for a store that lies there or keeps none itself
    experiment_id: str = ""
    runs: dict[str, Known] = field(default_factory=dict)  # by key, as of the last `load`

    def open(self) -> None:
        """Connect, create the experiment unless it is there, and `load` its runs.

        Raises:
            UserError: the store cannot be used.
        """
        prepare()
        try:
            self._open()
            self.load()
        except Exception as error:  # MLflow passes on what its many kinds of stores raise
            raise UserError(unanswered(self.uri, self._reason(error))) from None

    def load(self) -> None:
        """Read which of our runs the experiment has; of several with one key, one is kept."""
        self.runs = {}
        token: str | None = None
        while token != "":
            page = self.client.search_runs(
                [self.experiment_id],
                f"tags.`{KEY_TAG}` LIKE '%'",
                max_results=_PAGE,
                page_token=token,
                order_by=["attributes.start_time ASC"],
            )
            for run in page:
                self._learn(run)
            token = page.token or ""

    def enter(self, key: str, *, name: str, started: float, tags: Mapping[str, str]) -> bool:
        """Find the run of this key, or create it; True if it was created.

        Args:
            started: seconds since the epoch.
        """
        if key in self.runs:
            return False
        run = self.client.create_run(
            self.experiment_id,
            start_time=round(started * 1e3),
            tags={name: printable(text) for name, text in {**tags, KEY_TAG: key}.items()},
            run_name=printable(name),
        )
        self._learn(run)
        return True

    def log_points(self, run_id: str, points: Sequence["Metric"]) -> None:
        """Send metric points, in as many requests as MLflow's limit asks for."""
        for start in range(0, len(points), _BATCH):
            self.client.log_batch(run_id, metrics=points[start : start + _BATCH])

    def logged(self, run_id: str) -> set[tuple[str, int]]:
        """Metric and step of every point that the run has."""
        return {
            (name, point.step)
            for name in self.client.get_run(run_id).data.metrics
            for point in self.client.get_metric_history(run_id, name)
        }

    def set_tags(self, known: Known, tags: Mapping[str, str]) -> None:
        """Set the tags that differ from what is known, in as few requests as MLflow takes."""
        from mlflow.entities import RunTag

        texts = {key: printable(value) for key, value in tags.items()}
        new = {key: value for key, value in texts.items() if known.tags.get(key) != value}
        every = [RunTag(key, value) for key, value in new.items()]
        for start in range(0, len(every), _TAGS):
            self.client.log_batch(known.run_id, tags=every[start : start + _TAGS])
        known.tags.update(new)

    def last_time(self, known: Known) -> float:
        """Seconds since the epoch when the run logged its last point; its start if it has none."""
        names = list(self.client.get_run(known.run_id).data.metrics)
        history = self.client.get_metric_history(known.run_id, names[0]) if names else []
        return max([point.timestamp for point in history], default=known.start_time) / 1e3

    def reopen(self, known: Known) -> None:
        """Mark the run as running, unless it is."""
        if known.status != "RUNNING":
            self.client.update_run(known.run_id, status="RUNNING")
            known.status = "RUNNING"

    def terminate(self, known: Known, status: str, ended: float) -> None:
        """Mark the run as ended; ``ended`` is in seconds since the epoch."""
        end_time = max(round(ended * 1e3), known.start_time)
        self.client.set_terminated(known.run_id, status, end_time=end_time)
        known.status, known.end_time = status, end_time

    def delete(self, key: str) -> None:
        """Delete the run with this key; MLflow can restore it."""
        self.client.delete_run(self.runs.pop(key).run_id)

    @property
    def client(self) -> "MlflowClient":
        return self._client

    def _open(self) -> None:
        from mlflow import MlflowClient

        # A server stores artifacts itself; with a database, MLflow would use the current folder.
        path = sqlite_path(self.uri)
        artifacts = None if is_served(self.uri) else self._artifacts(path).as_uri()
        if path is None:
            check_database(self.uri)
            self._client = MlflowClient(tracking_uri=self.uri)
            self.experiment_id = self._find_or_create(artifacts)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one SQLite store at once break it.
        with FileLock(f"{path}.lock", timeout=_LOCK_S):
            check_database(self.uri)
            self._client = MlflowClient(tracking_uri=self.uri)
            self.experiment_id = self._find_or_create(artifacts)
            # With a write-ahead log, readers (the UI) and the writer do not wait for each other.
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA journal_mode=wal")
            connection.close()

    def _artifacts(self, path: Path | None) -> Path:
        """Where artifacts go: beside a file that several workspaces share, else the workspace."""
        if path is None or path.absolute().parent == self.artifacts.parent:
            return self.artifacts
        return path.absolute().with_name(f"{path.stem}-artifacts")

    def _find_or_create(self, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self.client.create_experiment(self.experiment, artifacts))
            except MlflowException:  # another writer was first
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ModuleNotFoundError) and "psycopg" in str(error):
            return 'the PostgreSQL driver is missing: pip install "dyt-bench[postgres]"'
        lines = str(error).splitlines()
        return hidden(lines[0], self.uri) if lines else type(error).__name__

    def _learn(self, run: "Run") -> None:
        info, tags = run.info, dict(run.data.tags)
        known = Known(info.run_id, info.status, info.start_time, info.end_time, tags)
        twin = self.runs.get(tags[KEY_TAG])
        if twin is not None:  # created by a request whose answer was lost
            whole = known.status in _DONE and twin.status not in _DONE
            known, twin = (known, twin) if whole else (twin, known)
            self.client.delete_run(twin.run_id)
        self.runs[tags[KEY_TAG]] = known


def unanswered(uri: str, reason: str) -> str:
    """The sentence about a store that cannot be used."""
    return (
        f"no MLflow store answers at {shown(uri)} ({reason}): start "
        "the server, fix --tracking-uri, or leave it out for a local SQLite store"
    )


def points(row: Mapping[str, Any]) -> list["Metric"]:
    """A record's row as MLflow's points; its ``time`` is in seconds since the epoch."""
    from mlflow.entities import Metric

    timestamp, step = round(row["time"] * 1e3), int(row["step"])
    return [
        Metric(metric_name(key), value, timestamp, step)
        for key, value in row.items()
        if key not in ("step", "time")
    ]


def measured(numbers: Mapping[str, float]) -> dict[str, str]:
    """Tags for numbers that are measured once: as a metric, each would be a chart of one point."""
    return {f"{MEASURED}{metric_name(name)}": f"{value:.6g}" for name, value in numbers.items()}


def metric_name(name: str) -> str:
    """The name with characters that MLflow refuses, such as the @ of "acc@1", replaced by _."""
    return _NOT_IN_NAMES.sub("_", name)
