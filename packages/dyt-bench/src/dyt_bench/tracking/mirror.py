"""One run's record and the run it fills."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dyt_bench.records.record import Record, Result
from dyt_bench.tracking.store import (
    KIND_TAG,
    NOTE_TAG,
    WORKSPACE_TAG,
    Known,
    Store,
    mended,
    points,
)
from dyt_bench.tracking.view import GROUP_PARAM

if TYPE_CHECKING:
    from mlflow.entities import Metric

IDENTITY_TAG = "dyt_bench.run"
# Set once parameters and data set are there: what a run has from its start, it has whole.
_ENTERED_TAG = "dyt_bench.entered"
_MODEL_TAG = "dyt_bench.model"  # set once the weights are there
_NOT_IN_MODELS = re.compile(r"[/:.%\"']+")  # MLflow takes none of them in a model's name
_LOADING = (
    "A state dict, for `dyt_bench.records.weights.load_weights(FOLDER)` where the run's folder "
    "is, or "
    'for `torch.load("weights.pt", weights_only=True)`.'
)
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


class Mirror:
    """Sends what a record has and its run has not."""

    def __init__(self, record: Record, workspace_id: str) -> None:
        self.record = record
        self.workspace_id = workspace_id
        self._known: Known | None = None
        self._offset = 0  # bytes of rows read
        self._logged: set[tuple[str, int]] = set()  # metric and step of every point sent

    def send(self, store: Store, *, last: bool) -> bool:
        """Send what is new; True once nothing more will come.

        Args:
            last: nobody writes the record any more; without a result it was cut off then.

        Raises:
            Exception: the store did not take it all. Load the store and call again: what it
                has by then is not sent twice.
        """
        try:
            return self._send(store, last=last)
        except Exception:
            # What arrived is uncertain now: the next call asks the store and starts over.
            self._known, self._offset = None, 0
            raise

    def _send(self, store: Store, *, last: bool) -> bool:
        result = self.record.result()  # read first: rows written until now are all there
        if self._known is None:
            about = self.record.about()
            if not about:
                return True  # not begun
            key = run_key(about)
            known = store.runs.get(key)
            if known is not None and result is not None and _is_whole(known, result):
                store.set_tags(known, {KIND_TAG: "run"})
                return True
            self._known = self._enter(store, key, about)
        known = self._known
        if result is None and not last:
            store.reopen(known)
        rows, offset = self._new_rows()
        self._log(store, known, [point for row in rows for point in points(row)])
        self._offset = offset
        if result is not None:
            self._finish(store, known, result)
        elif last:
            rows = rows or self.record.rows()
            ended = rows[-1]["time"] if rows else self.record.about()["started"]
            store.terminate(known, "KILLED", ended)
        return result is not None or last

    def _enter(self, store: Store, key: str, about: dict[str, Any]) -> Known:
        parameters, environment = about["parameters"], about["environment"]
        tags = {
            KIND_TAG: "run",
            IDENTITY_TAG: about["identity"],
            WORKSPACE_TAG: self.workspace_id,
            "dyt_bench.task": about["task_identity"],
            "model_variant": model_variant(parameters),
            "mlflow.source.name": "dyt-bench",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": environment["commit"],
            NOTE_TAG: f"**{about['label']}**: running.",
            **{f"digest.{name}": value for name, value in about["digests"].items()},
            **{f"env.{name}": value for name, value in environment.items()},
        }
        created = store.enter(key, name=about["label"], started=about["started"], tags=tags)
        known = store.runs[key]
        self._logged = set() if created else store.logged(known.run_id)
        if _ENTERED_TAG not in known.tags:
            log_start(store, known.run_id, parameters, about["digests"]["data"])
            store.set_tags(known, {_ENTERED_TAG: "yes"})
        store.set_tags(known, {KIND_TAG: "run", WORKSPACE_TAG: self.workspace_id})
        return known

    def _log(self, store: Store, known: Known, new: "list[Metric]") -> None:
        once = {(point.key, point.step): point for point in reversed(new)}  # the first one counts
        new = [point for key, point in reversed(once.items()) if key not in self._logged]
        store.log_points(known.run_id, new)
        self._logged |= once.keys()

    def _new_rows(self) -> tuple[list[dict[str, float]], int]:
        """Rows not read yet, and how far the file is read with them; a half line waits."""
        try:
            with self.record.rows_path.open("rb") as file:
                file.seek(self._offset)
                lines, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return [], self._offset
        rows = [json.loads(line) for line in lines.splitlines()]
        return rows, self._offset + len(lines) + len(newline)

    def _finish(self, store: Store, known: Known, result: Result) -> None:
        step = int(result.last.get("step", 0))
        metrics = {
            **result.summary,
            **{f"best/{name}": value for name, value in result.best.items()},
            **{f"alpha/{_key(layer)}": value for layer, value in result.alpha.items()},
            **{f"saturation/{_key(layer)}": value for layer, value in result.saturation.items()},
        }
        self._log(store, known, points({**metrics, "step": step, "time": result.ended}))
        # Once more with the layer's number for a step: as one curve over depth.
        for name, values in (
            ("diagnostics/alpha by layer", by_layer([result.alpha])),
            ("diagnostics/saturated share by layer", by_layer([result.saturation])),
        ):
            rows = [{name: v, "step": number, "time": result.ended} for number, v in values.items()]
            self._log(store, known, [point for row in rows for point in points(row)])
        tags = {f"dyt_bench.{name}": value for name, value in result.facts.items()}
        tags["dyt_bench.status"] = result.status
        if self.record.weights_path.exists():
            self._log_model(store, known, result)
        if result.reason:
            tags["dyt_bench.reason"] = result.reason
        tags[NOTE_TAG] = _note(self.record.about()["label"], result)
        store.set_tags(known, tags)
        if self.record.log_path.exists():
            store.client.log_artifact(known.run_id, str(self.record.log_path))
        pictures = self.record.folder / "artifacts"
        if pictures.is_dir():
            store.client.log_artifacts(known.run_id, str(pictures), "artifacts")
        store.terminate(known, _STATUS[result.status], result.ended)

    def _log_model(self, store: Store, known: Known, result: Result) -> None:
        """The weights at the end as a logged model, with the metrics they were validated to."""
        from mlflow.entities import LoggedModelOutput, Metric

        if _MODEL_TAG in known.tags:
            return
        about = self.record.about()
        # One is there already where it was begun and not finished, or its answer was lost.
        left = store.client.search_logged_models(
            [store.experiment_id], f"source_run_id = '{known.run_id}'"
        )
        model = (
            left[0]
            if left
            else store.client.create_logged_model(
                store.experiment_id,
                name=_NOT_IN_MODELS.sub("-", about["label"]),
                source_run_id=known.run_id,
                params={key: str(value) for key, value in about["parameters"].items()},
                tags={IDENTITY_TAG: about["identity"], NOTE_TAG: _LOADING},
                model_type=f"{about['parameters']['domain']}/{about['parameters']['model']}",
            )
        )
        store.client.log_model_artifact(model.model_id, str(self.record.weights_path))
        when, step = round(result.ended * 1e3), int(result.last.get("step", 0))
        metrics = [
            Metric(mended(f"last/{name}"), value, when, step, model_id=model.model_id)
            for name, value in result.last.items()
            if name != "step"
        ]
        store.log_points(known.run_id, metrics)
        store.client.log_outputs(known.run_id, [LoggedModelOutput(model.model_id, step)])
        store.client.finalize_logged_model(model.model_id, "READY")
        store.set_tags(known, {_MODEL_TAG: model.model_id})


def run_key(about: Mapping[str, Any]) -> str:
    """What tells a run from all others: a run begun anew, with --fresh, is another run."""
    return f"{about['identity']}@{about['started']}"


def model_variant(parameters: Mapping[str, Any]) -> str:
    """What seeds are grouped by: ``vision/vit dyt``."""
    return f"{parameters['domain']}/{parameters['model']} {parameters['variant']}"


def log_start(store: Store, run_id: str, parameters: Mapping[str, Any], data_digest: str) -> None:
    """Parameters and the data set, which a run has from its start."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    grouped = {**parameters, GROUP_PARAM: parameters["variant"]}
    params = [Param(key, str(value)) for key, value in grouped.items()]
    store.client.log_batch(run_id, params=params)
    dataset = Dataset(
        name=f"{parameters['domain']}/{parameters['dataset']}",
        digest=data_digest,
        source_type="local",
        source=str(parameters.get("path", parameters["dataset"])),
    )
    tags = [InputTag("mlflow.data.context", "training")]
    store.client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def by_layer(seeds: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """Layer, counted from the input -> mean over seeds."""
    return {
        number: fmean(seed[layer] for seed in seeds if layer in seed)
        for number, layer in enumerate(seeds[0])
    }


def _is_whole(known: Known, result: Result) -> bool:
    """Whether the run has all of a record that has ended: its end is what is sent last."""
    return known.status == _STATUS[result.status] and known.end_time == max(
        round(result.ended * 1e3), known.start_time
    )


def _note(label: str, result: Result) -> str:
    """The run's description, in Markdown."""
    about = f"**{label}**: {result.status}"
    lines = [f"{about}, {result.reason}." if result.reason else f"{about}."]
    names = [name for name in result.last if name != "step" and not name.startswith("time/")]
    if names:
        lines += ["", "| validation | first | best | last |", "|---|---|---|---|"]
    for name in ["step", *names] if names else []:
        values = [column.get(name, math.nan) for column in (result.first, result.best, result.last)]
        lines.append(f"| {name} | " + " | ".join(f"{value:.4g}" for value in values) + " |")
    if "weights" in result.facts:
        lines += [
            "",
            f"Started from weights `{result.facts['weights']}` (norms apart) and saw batches "
            f"`{result.facts.get('batches', '')}`: runs that share both are compared fairly.",
        ]
    return "\n".join(lines)


def _key(layer: str) -> str:
    """A module's qualified name as MLflow takes it; the root's is empty."""
    return layer or "root"
