"""A checkpoint with the head of a task, and how the trained model is saved."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging

import dyt
from dyt_bench.plugin.domain import DataError, quoted, reason
from dyt_pretrained.checkpoint import CONFIG
from dyt_pretrained.data.datamodule import FineTuningData
from dyt_pretrained.data.encoding import Inputs

_CLASSES = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "image-classification": "AutoModelForImageClassification",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
}
_EACH_TOKEN = {"token-classification", "masked-lm", "causal-lm"}
_PREPROCESSOR = "preprocessor_config.json"


class Headed(nn.Module):
    """A library's model, called with inputs by name; returns logits as losses take them.

    Shapes: (B, C) for classes, (B,) for a number, (B, C, T) where each token has a target.
    """

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.is_timm = not isinstance(model, transformers.PreTrainedModel)

    def forward(self, inputs: Inputs) -> Tensor:
        logits: Tensor = self._logits(inputs)
        if self.task == "regression":
            return logits.squeeze(-1)
        return logits.transpose(1, 2) if self.task in _EACH_TOKEN else logits

    def _logits(self, inputs: Inputs) -> Any:
        if self.is_timm:
            return self.model(inputs["pixel_values"])
        return self.model(**inputs).logits


def build(task: str, data: FineTuningData) -> Headed:
    """The checkpoint's model in float32 and training mode, its head new where it has none.

    Raises:
        DataError: the library cannot load it, or has no such head for it.
    """
    load = _timm if data.start.library == "timm" else _transformers
    try:
        with quiet():
            model = load(task, data)
    except Exception as error:  # libraries raise anything for what does not fit
        raise DataError(
            f"{data.start.folder} cannot be loaded for {quoted(task)} by {data.start.library}: "
            f"{reason(error)}"
        ) from error
    return Headed(model.float().train(), task)


@contextmanager
def quiet() -> Iterator[None]:
    """Within it transformers draws no bars, and does not list the head's new weights."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _timm(task: str, data: FineTuningData) -> nn.Module:
    classes = len(data.samples.classes)
    source = f"local-dir:{data.start.folder}"
    model: nn.Module = timm.create_model(source, pretrained=True, num_classes=classes)
    return model


def _transformers(task: str, data: FineTuningData) -> nn.Module:
    options: dict[str, Any] = {}
    if task not in ("masked-lm", "causal-lm"):
        names = list(data.samples.classes) or ["value"]
        options = {"num_labels": len(names), "ignore_mismatched_sizes": True}
        if task != "regression":
            options["id2label"] = dict(enumerate(names))
            options["label2id"] = {name: place for place, name in enumerate(names)}
    # Code from the folder is never run, and nothing is fetched.
    auto = getattr(transformers, _CLASSES[task])
    model = auto.from_pretrained(
        str(data.start.folder),
        local_files_only=True,
        trust_remote_code=False,
        dtype=torch.float32,
        **options,
    )
    if data.tokenizer is not None:
        model.config.pad_token_id = data.tokenizer.pad_token_id
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
    found: nn.Module = model
    return found


def save(module: Any, data: FineTuningData, folder: Path) -> None:
    """Write the converted model with its tokenizer or processor; `dyt.load` opens it.

    A number that is predicted is in standard deviations from the mean of the training set: both
    are in ``scale.json``.
    """
    with quiet():
        dyt.save(dyt.settle(module.model.model), folder)
    if data.tokenizer is not None:
        data.tokenizer.save_pretrained(str(folder))
    if module.model.task == "regression":
        scale = {"mean": data.samples.mean, "std": data.samples.std}
        (folder / "scale.json").write_text(json.dumps(scale))
    if module.model.is_timm:
        classes = len(data.samples.classes)
        config = {**data.start.config, "num_classes": classes}
        (folder / CONFIG).write_text(json.dumps(config, indent=2))
    elif (data.start.folder / _PREPROCESSOR).exists():
        shutil.copyfile(data.start.folder / _PREPROCESSOR, folder / _PREPROCESSOR)
