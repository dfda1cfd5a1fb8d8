"""Metrics taken once at the end: errors in the property's own unit."""

import torch

from dyt_bench.plugin.module import SupervisedModule
from dyt_molecules.data.datamodule import MoleculeData


@torch.no_grad()
def errors(module: SupervisedModule, data: MoleculeData) -> dict[str, float]:
    """Root mean square and mean absolute error on the validation set, in the property's unit."""
    batches = [(module(t.to(module.device)).cpu(), value) for t, value in data.val_dataloader()]
    predicted, measured = (torch.cat(side) for side in zip(*batches, strict=True))
    off = data.scale * (predicted - measured)
    return {"rmse": float(off.square().mean().sqrt()), "mae": float(off.abs().mean())}
