"""Data and module of a task: what its model, its data set and its training preset decide."""

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import optimization
from dyt_bench.plugin.task import Task
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.module import Denoiser


def build_data(task: Task, preset: TrainingPreset) -> DiffusionData:
    """The data module of ``task.dataset``; the preset's option "flip" mirrors images."""
    return DiffusionData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        flip=float(preset.options.get("flip", 0.0)),
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
        digest=task.data_digest,
    )


def build_module(task: Task, data: DiffusionData, preset: TrainingPreset) -> Denoiser:
    """A model of the images of ``data``."""
    return Denoiser(
        task.model,
        data.classes,
        channels=data.channels,
        size=data.size,
        levels=data.levels,
        latents=data.autoencoder is not None,
        seed=task.seed,
        **optimization(task, preset),
    )
