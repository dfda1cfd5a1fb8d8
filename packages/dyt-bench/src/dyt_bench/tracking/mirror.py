"""Copies one run's record into its MLflow run."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dyt_bench.errors import printable
from dyt_bench.records.home import Origin
from dyt_bench.records.record import Record, Result
from dyt_bench.tracking.models import log_model
from dyt_bench.tracking.store import (
    IDENTITY_TAG,
    KIND_TAG,
    MACHINE_TAG,
    MEASURED,
    MEMBER_TAG,
    NOTE_TAG,
    PLACE_TAG,
    VARIANT_TAG,
    WORKSPACE_TAG,
    Known,
    Store,
    measured,
    points,
)
from dyt_bench.verdicts.words import Row, escaped, markdown_table

if TYPE_CHECKING:
    from mlflow.entities import Metric

# Set once parameters and data set are sent, which a run has from its start.
_ENTERED_TAG = "dyt_bench.entered"
_RATIO = "time/step_ratio"
# Start of a metric's name in a record -> in MLflow, which sorts a run's charts into sections by
# what stands before the last slash, and sections by name: training, validation, and then these.
_SECTIONS = {
    "alpha/": "within/alpha ",
    "saturation/mean": "within/saturated share",
    "time/": "wall time/",
}
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


class Mirror:
    """Sends what the record has and its MLflow run lacks.

    Args:
        workspace: the one whose record it is.
    """

    def __init__(self, record: Record, workspace: Origin) -> None:
        self.record, self.workspace = record, workspace
        self._known: Known | None = None
        self._offset = 0  # bytes of rows read
        self._logged: set[tuple[str, int]] = set()  # metric and step of each point sent

    def send(self, store: Store, *, last: bool) -> bool:
        """Send what is new; True once nothing more will come.

        Args:
            last: whether no process writes the record any more. If it has no result then, the
                run is marked as killed.

        Raises:
            Exception: the store did not accept everything. Load the store and call again: what
                it has is not sent twice.
        """
        try:
            return self._send(store, last=last)
        except Exception:
            # What arrived is unknown: the next call asks the store and starts over.
            self._known, self._offset = None, 0
            raise

    def _send(self, store: Store, *, last: bool) -> bool:
        result = self.record.result()  # read first: with a result, all rows are written
        if self._known is None:
            about = self.record.about()
            if not about:
                return True  # not begun
            key = key_for(store, self.record, self.workspace)
            known = store.runs.get(key)
            if known is not None and result is not None and _is_whole(known, result):
                store.set_tags(
                    known, {**self._belongs, VARIANT_TAG: about["parameters"]["variant"]}
                )
                return True
            self._known = self._enter(store, key, about)
        known = self._known
        if result is None and not last:
            store.reopen(known)
        rows, offset = self.record.rows_after(self._offset)
        self._log(store, known, [point for row in rows for point in points(in_sections(row))])
        self._offset = offset
        if result is not None:
            self._finish(store, known, result)
        elif last:
            rows = rows or self.record.rows()
            ended = rows[-1]["time"] if rows else self.record.about()["started"]
            store.terminate(known, "KILLED", ended)
        return result is not None or last

    @property
    def _belongs(self) -> dict[str, str]:
        """Tags that make it a run of this workspace's suite."""
        return {KIND_TAG: "run", f"{MEMBER_TAG}{self.workspace.workspace}": "run"}

    def _enter(self, store: Store, key: str, about: dict[str, Any]) -> Known:
        made = self.record.origin() or self.workspace
        parameters, environment = about["parameters"], about["environment"]
        tags = {
            **self._belongs,
            IDENTITY_TAG: about["identity"],
            WORKSPACE_TAG: made.workspace,
            MACHINE_TAG: made.label,
            PLACE_TAG: f"{parameters['variant']}, {made.label}",
            "dyt_bench.task": about["task_identity"],
            VARIANT_TAG: parameters["variant"],
            "mlflow.source.name": "dyt-bench",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": environment.get("commit", "none"),
            NOTE_TAG: f"**{escaped(about['label'])}**: running.",
            **{f"digest.{name}": value for name, value in about["digests"].items()},
            **{f"env.{name}": value for name, value in environment.items()},
        }
        created = store.enter(key, name=about["label"], started=about["started"], tags=tags)
        known = store.runs[key]
        self._logged = set() if created else store.logged(known.run_id)
        if _ENTERED_TAG not in known.tags:
            log_start(store, known.run_id, parameters, about["digests"]["data"])
            store.set_tags(known, {_ENTERED_TAG: "yes"})
        store.set_tags(known, {**self._belongs, WORKSPACE_TAG: made.workspace})
        return known

    def _log(self, store: Store, known: Known, new: "list[Metric]") -> None:
        once = {
            (point.key, point.step): point for point in reversed(new)
        }  # the first of each counts
        new = [point for key, point in reversed(once.items()) if key not in self._logged]
        store.log_points(known.run_id, new)
        self._logged |= once.keys()

    def _finish(self, store: Store, known: Known, result: Result) -> None:
        step = int(result.last.get("step", 0))
        alpha = {f"alpha/{_key(layer)}": value for layer, value in result.alpha.items()}
        ends = in_sections({**alpha, "step": step, "time": result.ended})
        self._log(store, known, points(ends))
        # Again with the layer's number as the step, which makes one curve over depth.
        for name, values in (
            ("within/alpha by layer", by_layer([result.alpha])),
            ("within/saturated share by layer", by_layer([result.saturation])),
        ):
            rows = [{name: v, "step": number, "time": result.ended} for number, v in values.items()]
            self._log(store, known, [point for row in rows for point in points(row)])
        passes = epochs(self.record.rows(), self.record.about()["parameters"], result)
        self._log(store, known, [point for row in passes for point in points(row)])
        best = {f"best/{name}": value for name, value in result.best.items()}
        tags = {f"dyt_bench.{name}": value for name, value in result.facts.items()}
        tags |= measured({**result.summary, **best})
        tags["dyt_bench.status"] = result.status
        model = ""
        if self.record.weights_path.exists():
            model = log_model(store, known, self.record, result)
        if result.reason:
            tags["dyt_bench.reason"] = result.reason
        tags[NOTE_TAG] = _note(self.record.about()["label"], result, model)
        store.set_tags(known, tags)
        for path in (self.record.log_path, self.record.packages_path, self.record.about_path):
            if path.exists():
                store.client.log_artifact(known.run_id, str(path))
        pictures = self.record.folder / "artifacts"
        if pictures.is_dir():
            store.client.log_artifacts(known.run_id, str(pictures), "artifacts")
        store.terminate(known, _STATUS[result.status], result.ended)


def run_key(about: Mapping[str, Any]) -> str:
    """The key of a run in MLflow; a run that is started again with --fresh has another."""
    return f"{about['identity']}@{about['started']}"


def key_for(store: Store, record: Record, workspace: Origin) -> str:
    """The key under which a workspace has a run that has begun.

    Runs that have ended may be in several workspaces: copies, and what was merged. One that another
    workspace has not ended, or has ended otherwise, is a run of its own here.
    """
    about, result = record.about(), record.result()
    shared = run_key(about)
    own = f"{shared}@{workspace.workspace}"
    known = store.runs.get(shared)
    if own in store.runs:
        return own
    made = record.origin() or workspace
    if known is None or known.tags.get(WORKSPACE_TAG, made.workspace) == made.workspace:
        return shared
    return shared if result is not None and _is_whole(known, result) else own


def key_there(store: Store, about: Mapping[str, Any], workspace: Origin) -> str:
    """The key under which a workspace has sent a run."""
    own = f"{run_key(about)}@{workspace.workspace}"
    return own if own in store.runs else run_key(about)


def log_start(store: Store, run_id: str, parameters: Mapping[str, Any], data_digest: str) -> None:
    """Log parameters and data set, which a run has from its start; the variant is a tag."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    params = [
        Param(key, printable(str(value))) for key, value in parameters.items() if key != "variant"
    ]
    store.client.log_batch(run_id, params=params)
    dataset = Dataset(
        name=printable(f"{parameters['domain']}/{parameters['dataset']}"),
        digest=data_digest,
        source_type="local",
        source=printable(str(parameters.get("path", parameters["dataset"]))),
    )
    tags = [InputTag("mlflow.data.context", "training")]
    store.client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def in_sections(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record's row with the names that its metrics have in MLflow."""
    return {_in_section(name): value for name, value in row.items()}


def _in_section(name: str) -> str:
    for start, shown in _SECTIONS.items():
        if name.startswith(start):
            return shown + name.removeprefix(start)
    return name


def epochs(
    rows: Sequence[Mapping[str, float]], parameters: Mapping[str, Any], result: Result
) -> list[dict[str, float]]:
    """Passes over the training set done at each row of training; none of a stream of batches.

    An epoch is as many full batches as the set holds.
    """
    batches = result.summary.get("data/samples", 0.0) // parameters["batch_size"]
    return [
        {"step": row["step"], "time": row["time"], "epoch": row["step"] / batches}
        for row in rows
        if batches and any(name.startswith("train/") for name in row)
    ]


def by_layer(seeds: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """Layer's number, counted from the input -> mean over seeds."""
    return {
        number: fmean(seed[layer] for seed in seeds if layer in seed)
        for number, layer in enumerate(seeds[0])
    }


def _is_whole(known: Known, result: Result) -> bool:
    """Whether MLflow has everything of a run that has ended.

    Its end is sent last, and may be sent again with a step-time ratio.
    """
    if _RATIO in result.summary and f"{MEASURED}{_RATIO}" not in known.tags:
        return False
    return known.status == _STATUS[result.status] and known.end_time == max(
        round(result.ended * 1e3), known.start_time
    )


def _note(label: str, result: Result, model: str) -> str:
    """The run's description, in Markdown; ``model`` is its identity, or empty."""
    about = f"**{escaped(label)}**: {result.status}"
    lines = [f"{about}, {escaped(result.reason)}." if result.reason else f"{about}."]
    names = [name for name in result.last if name != "step" and not name.startswith("time/")]
    if names:
        columns = {"first": result.first, "best": result.best, "last": result.last}
        rows: list[Row] = [
            {"validation": name}
            | {title: f"{values.get(name, math.nan):.4g}" for title, values in columns.items()}
            for name in ["step", *names]
        ]
        lines += ["", markdown_table(rows)]
    if result.summary:
        measured_once: list[Row] = [
            {"measured once": name, "value": f"{value:.4g}"}
            for name, value in result.summary.items()
        ]
        lines += ["", markdown_table(measured_once)]
    if "weights" in result.facts:
        lines += [
            "",
            f"Started from weights {escaped(result.facts['weights'])} (except those of norm layers "
            f"and their replacements) and saw batches {escaped(result.facts.get('batches', ''))}: "
            "runs in "
            "which both are equal are compared fairly.",
        ]
    if model:
        lines += ["", f'Its model: `mlflow.pytorch.load_model("models:/{model}")`.']
    return "\n".join(lines)


def _key(layer: str) -> str:
    """A module's qualified name; the root's is empty, which MLflow refuses."""
    return layer or "root"
