"""Data and module of a task: what its model, its data set and its training preset decide."""

from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import optimization
from dyt_bench.plugin.task import Task
from dyt_speech.data.datamodule import SpeechData
from dyt_speech.module import Pretraining


def build_data(task: Task, preset: TrainingPreset) -> SpeechData:
    """The data module of ``task.dataset``; the preset says how long samples are."""
    return SpeechData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        seconds=float(preset.options["seconds"]),
        shortest=float(preset.options["shortest"]),
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
    )


def build_module(task: Task, preset: TrainingPreset) -> Pretraining:
    """The model of ``task.model``, with all other options of the preset."""
    options: dict[str, Any] = {k: v for k, v in preset.options.items() if k != "shortest"}
    return Pretraining(
        task.model, steps=task.steps, seed=task.seed, **optimization(task, preset), **options
    )
