"""Shapes of recordings, for forecasts without their files."""

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task

_RATE = 16_000  # samples a second


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Waves (B, samples) of as many seconds as the preset has."""
    samples = round(float(preset.options["seconds"]) * _RATE)
    return StandIn(None, torch.empty(task.batch_size, samples, device="meta"))
