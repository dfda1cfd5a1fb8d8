"""Data and module of a task: what its model, its data set and its training preset decide."""

from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.phases import phases, pretraining_steps
from dyt_bench.plugin.task import Task
from dyt_vision.data.datamodule import VisionData
from dyt_vision.selfsupervised.data import PhasedImages
from dyt_vision.selfsupervised.models import ARCHITECTURES
from dyt_vision.selfsupervised.module import SelfSupervised

_OF_IMAGES = ("auto_augment", "random_erase")  # options of a preset that the data module takes
_OF_MODULE = ("layer_decay", "label_smoothing", "mixup", "cutmix")


def build_data(task: Task, preset: TrainingPreset) -> PhasedImages:
    """The data module of ``task.dataset``, at the size that ``task.model`` takes."""
    pixels, _ = ARCHITECTURES[task.model]
    labelled = VisionData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        pixels=pixels,
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
        digest=task.data_digest,
        **_chosen(preset, _OF_IMAGES),
    )
    groups = int(preset.options.get("groups", 1))
    return PhasedImages(labelled, pretraining_steps(task, preset), groups)


def build_module(task: Task, data: PhasedImages, preset: TrainingPreset) -> SelfSupervised:
    """A classifier of the images of ``data``, pretrained first."""
    images, before_after = data.labelled, phases(task, preset)
    _, build = ARCHITECTURES[task.model]
    options: Any = preset.options
    drop_path = float(options.get("drop_path", 0.0))
    model = build(images.channels, images.pixels, images.classes, drop_path, options)
    module = SelfSupervised(
        model,
        images.classes,
        channels=images.channels,
        pixels=images.pixels,
        seed=task.seed,
        **before_after[1],
        **_chosen(preset, _OF_MODULE),
    )
    module.pretrain_first(pretraining_steps(task, preset), *before_after)
    return module


def _chosen(preset: TrainingPreset, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: preset.options[name] for name in names if name in preset.options}
