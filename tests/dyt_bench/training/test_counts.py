"""Losses that are means over other numbers of values in each part of a step."""

import math

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.training.counts import Counts
from dyt_bench.training.trainer import weighted


def squared(outputs, targets):
    """The mean over the targets that are there."""
    return (outputs - targets)[targets.isfinite()].square().mean()


class Seen(Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradient = module.model.weight.grad.clone()


@pytest.fixture
def data():
    torch.manual_seed(0)
    x, y = torch.randn(12, 3), torch.randn(12, 1)
    y[[0, 1, 4]] = math.nan  # of the first three one target is left
    return TensorDataset(x, y)


def gradient(data, parts, count=lambda targets: targets.isfinite().sum()):
    """What an optimiser's step of all samples in so many parts gets."""
    torch.manual_seed(1)
    module, seen = SupervisedModule(nn.Linear(3, 1), squared, count=count), Seen()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        accumulate_grad_batches=parts,
        callbacks=[Counts(), seen],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, DataLoader(data, len(data) // parts))
    return seen.gradient


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:.*val_dataload",
)
def test_every_value_of_a_step_counts_alike(data):
    whole = gradient(data, 1)
    for parts in (3, 2, 4):
        torch.testing.assert_close(gradient(data, parts), whole)
    assert not torch.allclose(gradient(data, 3, count=None), whole, rtol=0.01)


def test_means_are_weighed():
    assert weighted([[1.0, 4.0], [0.0, 3.0]], [2.0, 1.0]) == [2.0, 1.0]
    assert weighted([[0.1], [0.3]], [1.0]) == [0.1, 0.3]
    assert math.isnan(weighted([[math.nan]], [0.0])[0])
