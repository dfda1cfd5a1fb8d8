"""Shapes of what the first phase trains on, for forecasts without files."""

from types import SimpleNamespace

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_dna.shapes import SHAPES

_CLASSES = {"species": 4}
_BINARY = 2  # as most of the GenomicBenchmarks are


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Groups of windows (B, k, L) with targets, as long as the model reads."""
    length, windows = SHAPES[task.model].length, int(preset.options["windows"])
    names = [str(number) for number in range(_CLASSES.get(task.dataset, _BINARY))]
    data = SimpleNamespace(labelled=SimpleNamespace(names=names), length=length)
    tokens = torch.empty(task.batch_size, windows, length, dtype=torch.long, device="meta")
    return StandIn(data, (tokens, tokens, torch.empty_like(tokens, dtype=torch.bool)))
