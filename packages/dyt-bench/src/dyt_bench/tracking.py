"""Fill MLflow from the records, as they grow, without ever making training wait.

One thread reads the folders and sends what is new. MLflow ignores a point it has, so sending a
record twice is safe: a run that MLflow has only in part is simply sent again.
"""

import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.errors import UserError
from dyt_bench.record import Record, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient

IDENTITY_TAG = "dyt_bench.cell"
ATTEMPT_TAG = "dyt_bench.started"  # a cell run again, with --fresh or after a cut, is another run
_SEND_EVERY_S = 2.0
_BATCH = 1000  # metrics in one request, MLflow's limit
_CLOSE_S = 60.0  # how long to wait at the end for what is not sent yet
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


class Tracker:
    """Mirrors records into one MLflow experiment."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        self.uri = uri
        self.experiment = experiment
        self.artifacts = artifacts
        self.experiment_id = ""
        self.problem: str | None = None  # the last failure to send, if some run is not all there
        self._open: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def connect(self) -> None:
        """Create the store and the experiment where needed, and start sending.

        Raises:
            UserError: no store answers at the address.
        """
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        # Enough patience for a busy server, not the stock eight minutes for a dead one.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        for noisy in ("alembic", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        database = self.uri.removeprefix("sqlite:///") if self.uri.startswith("sqlite:///") else ""
        try:
            if database:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self.uri)
            found = self._client.get_experiment_by_name(self.experiment)
            if found is not None and found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self.experiment_id = (
                found.experiment_id
                if found is not None
                else self._client.create_experiment(
                    self.experiment, self.artifacts.as_uri() if database else None
                )
            )
            if database:
                # Readers (the UI) and the writer then do not wait for each other.
                with sqlite3.connect(database) as connection:
                    connection.execute("PRAGMA journal_mode=wal")
                connection.close()
        except Exception as error:  # MLflow raises whatever its many stores raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"no MLflow store answers at {self.uri} ({reason[:200]}): start the server, mend "
                "--tracking-uri, or leave it out for a local SQLite store"
            ) from None
        self._thread.start()

    def follow(self, record: Record) -> None:
        """Mirror the record from now on, until it has a result or the tracker closes."""
        self._open.put(record)

    def log_run(
        self,
        name: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """A finished run of something measured at once, which has no record."""
        from mlflow.entities import Param

        run = self._client.create_run(self.experiment_id, tags=dict(tags), run_name=name)
        run_id = run.info.run_id
        points = _points({"step": 0, "time": time.time(), **metrics})
        parameters = [Param(key, value) for key, value in params.items()]
        self._client.log_batch(run_id, metrics=points, params=parameters)
        self._client.set_terminated(run_id, "FINISHED")

    def close(self, patience_s: float = _CLOSE_S) -> None:
        """Send what is left; runs without a result are marked as killed."""
        self._closing.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.problem = self.problem or "the store is too slow"

    def _work(self) -> None:
        mirrors: list[_Mirror] = []
        while True:
            closing = self._closing.wait(_SEND_EVERY_S)
            while not self._open.empty():
                mirrors.append(_Mirror(self._client, self.experiment_id, self._open.get()))
            for mirror in list(mirrors):
                try:
                    if mirror.send(last=closing):
                        mirrors.remove(mirror)
                except Exception as error:  # a tracker's outage must not reach training
                    self.problem = f"{type(error).__name__}: {error}"
            if closing:
                return
            if not mirrors:
                self.problem = None


class _Mirror:
    """One record and the run it fills."""

    def __init__(self, client: "MlflowClient", experiment_id: str, record: Record) -> None:
        self.client, self.experiment_id, self.record = client, experiment_id, record
        self.run_id = ""
        self.sent = 0  # rows

    def send(self, *, last: bool) -> bool:
        """Send what is new; True once the run is complete and nothing more will come."""
        result = self.record.result()  # read first: rows written until now are all there
        if not self.run_id and not self._enter():
            return True
        rows = self.record.rows()
        self._log([point for row in rows[self.sent :] for point in _points(row)])
        self.sent = len(rows)
        if result is not None:
            self._finish(result)
        elif last:
            self.client.set_terminated(self.run_id, "KILLED")
        return result is not None or last

    def _enter(self) -> bool:
        """Find or create the run; False if MLflow has it whole already."""
        about = self.record.about()
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{IDENTITY_TAG}` = '{about['identity']}' "
            f"and tags.`{ATTEMPT_TAG}` = '{about['started']}'",
        )
        if found and found[0].info.status == "FINISHED":
            return False
        if found:
            self.run_id = found[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            self.run_id = self._create(about)
        return True

    def _create(self, about: dict[str, Any]) -> str:
        from mlflow.entities import Param

        parameters, environment = about["parameters"], about["environment"]
        tags = {
            IDENTITY_TAG: about["identity"],
            ATTEMPT_TAG: str(about["started"]),
            "dyt_bench.task": about["task_identity"],
            "arm": f"{parameters['domain']}/{parameters['model']} {parameters['norm']}",
            "mlflow.source.name": "dyt-bench",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": environment["commit"],
            **{f"digest.{key}": value for key, value in about["digests"].items()},
            **{f"env.{key}": value for key, value in environment.items()},
        }
        run = self.client.create_run(
            self.experiment_id,
            start_time=round(about["started"] * 1e3),
            tags=tags,
            run_name=about["label"],
        )
        run_id = str(run.info.run_id)
        params = [Param(key, str(value)) for key, value in parameters.items()]
        self.client.log_batch(run_id, params=params)
        self._log_dataset(run_id, about)
        return run_id

    def _log_dataset(self, run_id: str, about: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        parameters = about["parameters"]
        dataset = Dataset(
            name=f"{parameters['domain']}/{parameters['dataset']}",
            digest=about["digests"]["data"],
            source_type="local",
            source=str(parameters.get("path", parameters["dataset"])),
        )
        self.client.log_inputs(
            run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )

    def _log(self, points: list[Any]) -> None:
        for start in range(0, len(points), _BATCH):
            self.client.log_batch(self.run_id, metrics=points[start : start + _BATCH])

    def _finish(self, result: Result) -> None:
        step = int(result.last.get("step", 0))
        metrics = {
            **result.summary,
            **{f"best/{name}": value for name, value in result.best.items()},
            **{f"alpha/{_key(layer)}": value for layer, value in result.alpha.items()},
            **{f"saturation/{_key(layer)}": value for layer, value in result.saturation.items()},
        }
        self._log(_points({"step": step, "time": result.ended, **metrics}))
        tags = {**result.facts, "status": result.status}
        if result.reason:
            tags["reason"] = result.reason
        for key, value in tags.items():
            self.client.set_tag(self.run_id, f"dyt_bench.{key}", value)
        if self.record.log_path.exists():
            self.client.log_artifact(self.run_id, str(self.record.log_path))
        self.client.set_terminated(
            self.run_id, _STATUS[result.status], end_time=round(result.ended * 1e3)
        )


def _points(row: Mapping[str, float]) -> list[Any]:
    from mlflow.entities import Metric

    timestamp, step = round(row["time"] * 1e3), int(row["step"])
    return [
        Metric(key, value, timestamp, step)
        for key, value in row.items()
        if key not in ("step", "time")
    ]


def _key(layer: str) -> str:
    """A module's qualified name as MLflow takes it; the root's is empty."""
    return layer or "root"
