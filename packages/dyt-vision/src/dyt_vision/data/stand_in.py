"""Shapes of the image sets, for forecasts without their files."""

from types import SimpleNamespace

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_vision.models import ARCHITECTURES

# Data set -> channels, pixels a side, classes. Of a folder of photographs they are a guess.
SHAPES = {
    "digits": (1, 8, 10),
    "mnist-5k": (1, 28, 10),
    "fashion-mnist": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "imagenet": (3, 224, 1000),
}
_GUESS = (3, 64, 10)


def shape_of(dataset: str, pixels: int | None) -> tuple[int, int, int]:
    """Channels, pixels a side and classes of a data set, for a model that takes so many pixels."""
    channels, side, classes = SHAPES.get(dataset, _GUESS)
    return channels, pixels or side, classes


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Images (B, C, S, S) at the size that the model takes, and labels (B,)."""
    channels, pixels, classes = shape_of(task.dataset, ARCHITECTURES[task.model].pixels)
    images = torch.empty(task.batch_size, channels, pixels, pixels, device="meta")
    labels = torch.empty(task.batch_size, dtype=torch.long, device="meta")
    data = SimpleNamespace(channels=channels, pixels=pixels, classes=classes)
    return StandIn(data, (images, labels))
