"""Metrics taken once at the end: a number's error in its own unit."""

import torch

from dyt_bench.plugin.module import SupervisedModule
from dyt_pretrained.data.datamodule import FineTuningData


@torch.no_grad()
def errors(module: SupervisedModule, data: FineTuningData) -> dict[str, float]:
    """``rmse`` and ``mae`` in the column's unit, and ``r2``, over the validation set."""
    found, wanted = [], []
    for inputs, targets in data.val_dataloader():
        moved = {name: value.to(module.device) for name, value in inputs.items()}
        found.append(module(moved).cpu().double())
        wanted.append(targets.double())
    y, truth = torch.cat(found), torch.cat(wanted)
    difference, std = y - truth, data.samples.std
    spread = (truth - truth.mean()).square().sum()
    return {
        "rmse": float(difference.square().mean().sqrt() * std),
        "mae": float(difference.abs().mean() * std),
        "r2": float(1 - difference.square().sum() / spread) if spread else 0.0,
    }
