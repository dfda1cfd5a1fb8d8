"""Shapes of the image sets in pretraining, for forecasts without their files."""

from types import SimpleNamespace

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_vision.data.stand_in import images
from dyt_vision.selfsupervised.models import ARCHITECTURES


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Groups of images (B, k, C, S, S): a step of the first phase, which has most of them."""
    pixels, _ = ARCHITECTURES[task.model]
    found = images(task, pixels, (int(preset.options.get("groups", 1)),))
    return StandIn(SimpleNamespace(labelled=found.data), found.batch)
