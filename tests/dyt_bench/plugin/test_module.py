"""A model that exists already, trained and validated by nothing but a loss and metrics."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.plugin.task import Task

TASK = Task(
    domain="d",
    model="m",
    dataset="s",
    steps=4,
    batch_size=4,
    learning_rate=0.1,
    val_every=4,
)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    inputs = torch.randn(10, 3)
    samples = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    module = SupervisedModule(
        nn.Linear(3, 1),
        mse_loss,
        task=TASK,
        training=TrainingPreset(summary="AdamW"),
        metrics={"mae": MeanAbsoluteError()},
    )
    trainer = Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(samples, 4), DataLoader(samples, 4))
    return module, samples, trainer.validate(module, DataLoader(samples, 4), verbose=False)[0]


def test_a_pass_weighs_samples_alike_however_small_the_last_batch(trained):
    module, samples, logged = trained
    inputs, targets = samples.tensors
    with torch.no_grad():
        off = module(inputs) - targets
    assert logged["val/loss"] == pytest.approx(off.square().mean().item(), rel=1e-5)
    assert logged["val/mae"] == pytest.approx(off.abs().mean().item(), rel=1e-5)


def test_the_harness_finds_what_it_asks_of_a_module(trained):
    module, _, _ = trained
    assert module.units_per_sample == 1
    optimizer = module.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["lr"] == TASK.learning_rate
