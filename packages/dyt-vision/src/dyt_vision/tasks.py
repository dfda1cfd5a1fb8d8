"""Data and module of a task: what its model, its data set and its training preset decide."""

from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import optimization
from dyt_bench.plugin.task import Task
from dyt_vision.data.datamodule import VisionData
from dyt_vision.models import ARCHITECTURES
from dyt_vision.module import Classifier

_OF_IMAGES = ("auto_augment", "random_erase")  # options of a preset that the data module takes


def build_data(task: Task, preset: TrainingPreset) -> VisionData:
    """The data module of ``task.dataset``, at the size that ``task.model`` takes."""
    return VisionData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        pixels=ARCHITECTURES[task.model].pixels,
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
        digest=task.data_digest,
        **_options(preset, of_images=True),
    )


def build_module(task: Task, data: VisionData, preset: TrainingPreset) -> Classifier:
    """A classifier of the images of ``data``."""
    return Classifier(
        task.model,
        data.classes,
        channels=data.channels,
        pixels=data.pixels,
        seed=task.seed,
        **optimization(task, preset),
        **_options(preset, of_images=False),
    )


def _options(preset: TrainingPreset, *, of_images: bool) -> dict[str, Any]:
    options = preset.options.items()
    return {name: value for name, value in options if (name in _OF_IMAGES) == of_images}
