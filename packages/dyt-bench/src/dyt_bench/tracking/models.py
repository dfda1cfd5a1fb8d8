"""A run's kept weights as a model in MLflow, with the metrics of the last validation."""

import json
import re
import tempfile
from pathlib import Path

from dyt_bench.records.record import Record, Result
from dyt_bench.tracking import unpickler
from dyt_bench.tracking.store import IDENTITY_TAG, NOTE_TAG, Known, Store, metric_name

_MODEL_TAG = "dyt_bench.model"  # set once the weights are sent
_NOT_IN_MODELS = re.compile(r"[/:.%\"']+")  # MLflow refuses these in a model's name
_DATA = "data"  # folder with the weights in a model's folder
_WEIGHTS = "model.pth"  # MLflow's name
_LOADING = (
    "`mlflow.pytorch.load_model` builds the trained module again where dyt-bench and the domain "
    f'are installed; `torch.load("{_DATA}/{_WEIGHTS}", weights_only=True)["weights"]` is its state '
    "dict, anywhere."
)


def log_model(store: Store, known: Known, record: Record, result: Result) -> str:
    """Log the weights at the end as a model, with the metrics of the last validation.

    Returns:
        the model's identity in MLflow.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    if _MODEL_TAG in known.tags:
        return known.tags[_MODEL_TAG]
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
    with tempfile.TemporaryDirectory() as folder:
        write_model(record, Path(folder), model.model_id)
        store.client.log_model_artifacts(model.model_id, folder)
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
    return str(model.model_id)


def write_model(record: Record, folder: Path, model_id: str) -> None:
    """Write the weights as a model of MLflow's PyTorch flavor, which `unpickler` reads."""
    import torch
    from mlflow.models import Model

    about = record.about()
    (folder / _DATA).mkdir()
    # Not read into memory: it is copied from one file to the other.
    weights = torch.load(record.weights_path, map_location="cpu", mmap=True, weights_only=True)
    torch.save({"run": json.dumps(about), "weights": weights}, folder / _DATA / _WEIGHTS)
    (folder / _DATA / "pickle_module_info.txt").write_text(unpickler.__name__)
    described = Model(model_id=model_id)
    version = _torch(about["environment"].get("torch", ""), str(torch.__version__))
    described.add_flavor("pytorch", model_data=_DATA, pytorch_version=version)
    described.save(folder / "MLmodel")


def _torch(trained: str, installed: str) -> str:
    """The version that MLflow compares when a model is loaded, ``2.9.1+cu128``.

    Of the one that trained only the beginning is known.
    """
    return installed if installed.startswith(trained) else trained
