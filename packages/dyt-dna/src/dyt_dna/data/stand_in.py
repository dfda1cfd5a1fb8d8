"""Shapes of genomes and of labelled sequences, for forecasts without their files."""

from types import SimpleNamespace
from typing import Any

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_dna.data.datamodule import GenomeData, LabelledData
from dyt_dna.data.files import LABELLED
from dyt_dna.shapes import SHAPES

_CLASSES = {"species": 4, "genomic-benchmarks": 2}


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Windows (B, L) with targets, or labelled sequences (B, L), as long as the model reads."""
    length = SHAPES[task.model].length
    tokens = torch.empty(task.batch_size, length, dtype=torch.long, device="meta")
    data: Any  # without files, what it holds of them is not there
    if task.dataset in LABELLED:
        data = LabelledData.__new__(LabelledData)
        names = [str(number) for number in range(_CLASSES.get(task.dataset, 2))]
        data.labelled, data.length = SimpleNamespace(names=names), length
        return StandIn(data, (tokens, tokens[:, 0]))
    data = GenomeData.__new__(GenomeData)
    data.annotated, data.length = False, length
    return StandIn(data, (tokens, tokens, torch.empty_like(tokens, dtype=torch.bool)))
