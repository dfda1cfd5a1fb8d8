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


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Images (B, C, S, S) at the size that the model takes, and labels (B,)."""
    return images(task, ARCHITECTURES[task.model].pixels)


def images(task: Task, pixels: int | None, groups: tuple[int, ...] = ()) -> StandIn:
    """Images (B, *groups, C, S, S) and labels (B, *groups).

    Args:
        pixels: a side; None: as many as those of the data set have.
    """
    channels, side, classes = SHAPES.get(task.dataset, _GUESS)
    side = pixels or side
    lead = task.batch_size, *groups
    values = torch.empty(*lead, channels, side, side, device="meta")
    labels = torch.empty(lead, dtype=torch.long, device="meta")
    return StandIn(
        SimpleNamespace(channels=channels, pixels=side, classes=classes), (values, labels)
    )
