"""An MLflow tracking store: whether it answers, one experiment in it, and the runs that are there.

Every run of ours carries a key, and is looked for by its key before it is made: what was sent
before a cut, or without the answer ever coming back, is found again.
"""

import logging
import os
import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from dyt_bench.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

KEY_TAG = "dyt_bench.key"
KIND_TAG = "kind"  # "run", "earlier run" (no longer of its suite), "summary", "measurement"
WORKSPACE_TAG = "dyt_bench.workspace"
NOTE_TAG = "mlflow.note.content"  # Markdown that MLflow shows as the description

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_BATCH = 1000  # metrics in one request, MLflow's limit
_PAGE = 1000  # runs in one answer
PROBE_S = 2.0  # a server that takes longer to say that it is there counts as absent
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)
_DONE = ("FINISHED", "FAILED", "KILLED")


def prepare() -> None:
    """Import MLflow, quiet, and with patience for a busy server but not for a dead one."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # Addresses of runs on stdout would spoil --json.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # A request repeated blindly would make a second run; the tracker looks before it repeats.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for noisy in ("alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    import mlflow  # noqa: F401


def is_remote(uri: str) -> bool:
    """Whether the store is a server, which may come and go while a suite runs."""
    return _scheme(uri) in _PORTS


def outage(uri: str) -> str | None:
    """Why the server at ``uri`` does not answer now; None if it does, or is no server.

    Raises:
        UserError: something answers that is not MLflow, or the address is none.
    """
    if not is_remote(uri):
        return None
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS[_scheme(uri)]
    except ValueError as error:
        raise UserError(f"{uri} is not an address ({error}): mend --tracking-uri") from None
    if host is None:  # a database behind a local socket
        return None
    try:
        if _scheme(uri) in ("http", "https"):
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_S):
                return None
        import socket

        with socket.create_connection((host, port), timeout=PROBE_S):
            return None
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise UserError(
                f"what answers at {uri} is not MLflow (it has no /health): mend --tracking-uri"
            ) from None
        return f"status {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


@dataclass
class Known:
    """A run that the store has."""

    run_id: str
    status: str
    start_time: int  # ms since the epoch
    end_time: int | None
    tags: dict[str, str]


@dataclass
class Store:
    """One experiment in the store at ``uri``; `open` it before anything else."""

    uri: str
    experiment: str
    artifacts: Path  # where a store on this machine keeps artifacts
    experiment_id: str = ""
    runs: dict[str, Known] = field(default_factory=dict)  # by key, as of the last `load`

    def open(self) -> None:
        """Create the store and the experiment where needed, and learn what runs there are.

        Raises:
            UserError: the store cannot be used.
        """
        prepare()
        try:
            self._open()
            self.load()
        except Exception as error:  # MLflow raises whatever its many stores raise
            raise UserError(
                f"no MLflow store answers at {self.uri} ({_reason(error)}): start the server, mend "
                "--tracking-uri, or leave it out for a local SQLite store"
            ) from None

    def load(self) -> None:
        """Learn what runs of ours the experiment has; of runs with one key, only one stays."""
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
            tags={**tags, KEY_TAG: key},
            run_name=name,
        )
        self._learn(run)
        return True

    def log_points(self, run_id: str, points: Sequence["Metric"]) -> None:
        """Send metric points, as many as there are."""
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
        """Set those tags that are not so already, in one request."""
        from mlflow.entities import RunTag

        new = {key: value for key, value in tags.items() if known.tags.get(key) != value}
        if new:
            self.client.log_batch(known.run_id, tags=[RunTag(k, v) for k, v in new.items()])
            known.tags.update(new)

    def last_time(self, known: Known) -> float:
        """When the run logged its last point, seconds since the epoch; else, when it started."""
        names = list(self.client.get_run(known.run_id).data.metrics)
        history = self.client.get_metric_history(known.run_id, names[0]) if names else []
        return max([point.timestamp for point in history], default=known.start_time) / 1e3

    def reopen(self, known: Known) -> None:
        """Say that the run is running, if it is not said."""
        if known.status != "RUNNING":
            self.client.update_run(known.run_id, status="RUNNING")
            known.status = "RUNNING"

    def terminate(self, known: Known, status: str, ended: float) -> None:
        """Say that the run has ended; ``ended`` is in seconds since the epoch."""
        end_time = max(round(ended * 1e3), known.start_time)
        self.client.set_terminated(known.run_id, status, end_time=end_time)
        known.status, known.end_time = status, end_time

    def delete(self, key: str) -> None:
        """Remove the run of this key, as MLflow does: it can be restored."""
        self.client.delete_run(self.runs.pop(key).run_id)

    @property
    def client(self) -> "MlflowClient":
        return self._client

    def _open(self) -> None:
        from mlflow import MlflowClient

        # A server has a place for artifacts; a database would put them into the current folder.
        served = _scheme(self.uri) in ("http", "https")
        artifacts = None if served else self.artifacts.as_uri()
        path = _sqlite_path(self.uri)
        if path is None:
            self._client = MlflowClient(tracking_uri=self.uri)
            self.experiment_id = self._find_or_create(artifacts)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one SQLite store at once break it.
        with FileLock(f"{path}.lock"):
            self._client = MlflowClient(tracking_uri=self.uri)
            self.experiment_id = self._find_or_create(artifacts)
            # Readers (the UI) and the writer then do not wait for each other.
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA journal_mode=wal")
            connection.close()

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

    def _learn(self, run: "Run") -> None:
        info, tags = run.info, dict(run.data.tags)
        known = Known(info.run_id, info.status, info.start_time, info.end_time, tags)
        twin = self.runs.get(tags[KEY_TAG])
        if twin is not None:  # made by a request whose answer was lost
            whole = known.status in _DONE and twin.status not in _DONE
            known, twin = (known, twin) if whole else (twin, known)
            self.client.delete_run(twin.run_id)
        self.runs[tags[KEY_TAG]] = known


def points(row: Mapping[str, Any]) -> list["Metric"]:
    """A row of a record as MLflow takes it; ``time`` is in seconds, ``step`` in steps."""
    from mlflow.entities import Metric

    timestamp, step = round(row["time"] * 1e3), int(row["step"])
    return [
        Metric(mended(key), value, timestamp, step)
        for key, value in row.items()
        if key not in ("step", "time")
    ]


def mended(name: str) -> str:
    """A metric's name as MLflow takes it; a domain may log "acc@1"."""
    return _NOT_IN_NAMES.sub("_", name)


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and "psycopg" in str(error):
        return 'the PostgreSQL driver is missing: pip install "dyt-bench[postgres]"'
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0]


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
