"""Shapes of the image sets and of latents, for forecasts without their files."""

from types import SimpleNamespace

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task

# Data set -> channels, places a side, classes, levels. ImageNet's are latents of 256x256.
SHAPES = {
    "digits": (1, 8, 10, 17),
    "mnist-5k": (1, 28, 10, 256),
    "fashion-mnist": (1, 28, 10, 256),
    "cifar10": (3, 32, 10, 256),
    "imagenet": (4, 32, 1000, 256),
}
_GUESS = (3, 16, 10, 256)  # of a folder: its images are read at 16x16


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Images (B, C, S, S), and labels (B,)."""
    channels, size, classes, levels = SHAPES.get(task.dataset, _GUESS)
    images = torch.empty(task.batch_size, channels, size, size, device="meta")
    labels = torch.empty(task.batch_size, dtype=torch.long, device="meta")
    data = SimpleNamespace(
        channels=channels, size=size, classes=classes, levels=levels, autoencoder=None
    )
    return StandIn(data, (images, labels))
