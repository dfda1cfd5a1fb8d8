"""Data and module of a task: what its model, its data set and its training preset decide."""

from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import optimization
from dyt_bench.plugin.task import Task
from dyt_dna.data.datamodule import GenomeData, LabelledData
from dyt_dna.data.files import LABELLED
from dyt_dna.module import Classifier, LanguageModel
from dyt_dna.shapes import SHAPES


def build_data(task: Task, preset: TrainingPreset) -> GenomeData | LabelledData:
    """The data module of ``task.dataset``, for what ``task.model`` reads and predicts."""
    shape = SHAPES[task.model]
    given: dict[str, Any] = {
        "batch_size": task.batch_size,
        "seed": task.seed,
        "length": shape.length,
        "train_samples": task.train_samples,
        "skip_bad_files": task.skip_bad_files,
    }
    if task.dataset in LABELLED:
        return LabelledData(task.dataset, task.path, **given)
    masks = _options(preset, of_masks=True)
    return GenomeData(task.dataset, task.path, masked=shape.masked, **given, **masks)


def build_module(
    task: Task, data: GenomeData | LabelledData, preset: TrainingPreset
) -> LanguageModel | Classifier:
    """A classifier of labelled sequences, else a language model."""
    given = {**optimization(task, preset), **_options(preset, of_masks=False)}
    if isinstance(data, LabelledData):
        classes = len(data.labelled.names)
        return Classifier(task.model, classes, length=data.length, seed=task.seed, **given)
    return LanguageModel(task.model, length=data.length, annotated=data.annotated, **given)


def _options(preset: TrainingPreset, *, of_masks: bool) -> dict[str, Any]:
    options = preset.options.items()
    return {name: value for name, value in options if name.startswith("mask_") == of_masks}
