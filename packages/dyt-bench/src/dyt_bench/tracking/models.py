"""A run's kept weights as a model in MLflow, with the metrics of the last validation."""

import re

from dyt_bench.records.record import Record, Result
from dyt_bench.tracking.store import IDENTITY_TAG, NOTE_TAG, Known, Store, metric_name

_MODEL_TAG = "dyt_bench.model"  # set once the weights are sent
_NOT_IN_MODELS = re.compile(r"[/:.%\"']+")  # MLflow refuses these in a model's name
_LOADING = (
    "A state dict, for `dyt_bench.records.weights.load_weights(FOLDER)` if you have the run's "
    "folder, or "
    'for `torch.load("weights.pt", weights_only=True)`.'
)


def log_model(store: Store, known: Known, record: Record, result: Result) -> None:
    """Log the weights at the end as a model, with the metrics of the last validation."""
    from mlflow.entities import LoggedModelOutput, Metric

    if _MODEL_TAG in known.tags:
        return
    about = record.about()
    # A model is there already if sending it was interrupted, or its answer was lost.
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
    store.client.log_model_artifact(model.model_id, str(record.weights_path))
    when, step = round(result.ended * 1e3), int(result.last.get("step", 0))
    metrics = [
        Metric(metric_name(f"last/{name}"), value, when, step, model_id=model.model_id)
        for name, value in result.last.items()
        if name != "step"
    ]
    store.log_points(known.run_id, metrics)
    store.client.log_outputs(known.run_id, [LoggedModelOutput(model.model_id, step)])
    store.client.finalize_logged_model(model.model_id, "READY")
    store.set_tags(known, {_MODEL_TAG: model.model_id})
