"""Data and module of a task: what its model, its data set and its training preset decide."""

from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.phases import phases, pretraining_steps
from dyt_bench.plugin.task import Task
from dyt_dna.finetuning.data import FineTuningData
from dyt_dna.finetuning.module import FineTuned
from dyt_dna.shapes import SHAPES

_OF_MODULE = ("dropout", "filter_rate", "filter_weight_decay")


def build_data(task: Task, preset: TrainingPreset) -> FineTuningData:
    """The data module of ``task.dataset``, for what ``task.model`` reads and predicts."""
    shape = SHAPES[task.model]
    masks: dict[str, Any] = {
        name: value for name, value in preset.options.items() if name.startswith("mask_")
    }
    return FineTuningData(
        task.dataset,
        task.path,
        pretraining_steps=pretraining_steps(task, preset),
        windows=int(preset.options["windows"]),
        batch_size=task.batch_size,
        seed=task.seed,
        length=shape.length,
        masked=shape.masked,
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
        **masks,
    )


def build_module(task: Task, data: FineTuningData, preset: TrainingPreset) -> FineTuned:
    """A classifier of the sequences of ``data``, pretrained first."""
    options: dict[str, Any] = {
        name: preset.options[name] for name in _OF_MODULE if name in preset.options
    }
    before, after = phases(task, preset)
    classes = len(data.labelled.names)
    module = FineTuned(task.model, classes, length=data.length, seed=task.seed, **options, **after)
    module.pretrain_first(pretraining_steps(task, preset), before, after)
    return module
