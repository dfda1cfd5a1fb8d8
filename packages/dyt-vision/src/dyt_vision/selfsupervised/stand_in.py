"""Shapes of what the first phase trains on, for forecasts without files."""

from types import SimpleNamespace

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_vision.data.stand_in import shape_of
from dyt_vision.selfsupervised.models import ARCHITECTURES


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Groups of images (B, k, C, S, S) at the size that the model takes, and labels (B, k)."""
    channels, pixels, classes = shape_of(task.dataset, ARCHITECTURES[task.model][0])
    size = task.batch_size, int(preset.options.get("groups", 1))
    images = torch.empty(*size, channels, pixels, pixels, device="meta")
    labelled = SimpleNamespace(channels=channels, pixels=pixels, classes=classes)
    labels = torch.empty(size, dtype=torch.long, device="meta")
    return StandIn(SimpleNamespace(labelled=labelled), (images, labels))
