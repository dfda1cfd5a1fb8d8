"""What the domains build."""

import os

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn.functional import l1_loss, mse_loss
from torch.utils.data import Dataset, TensorDataset

from dyt_bench.plugin.data import SeededDataModule
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.optim import adamw


def points(task):
    """Train and validation samples, of the task's path if it names one."""
    if task.path is None:
        x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    else:
        try:
            lines = task.path.read_text().splitlines()
            x = torch.tensor([[float(number) for number in line.split(",")] for line in lines])
        except (OSError, ValueError) as error:
            raise DataError(f"{task.path} is no table of numbers: {error}") from None
    samples = TensorDataset(x, x[:, :1])
    return tuple(torch.utils.data.Subset(samples, part) for part in (range(44), range(44, 60)))


def error_of_mean(data):
    train, val = (torch.stack([y for _, y in side]) for side in (data.train, data.val))
    return (val - train.mean()).abs().mean().item()


class Data(SeededDataModule):
    def __init__(self, task, train, val):
        super().__init__(train, val, batch_size=task.batch_size, seed=task.seed)


class Mapped(Dataset):
    def __init__(self, samples, change):
        self.samples, self.change = samples, change

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        x, y = self.samples[index]
        return self.change(x), y


def with_noise(x):
    return x + 0.01 * torch.randn_like(x)


class Line(LightningModule):
    units_per_sample = 1

    def __init__(self, task, recipe):
        super().__init__()
        self.task, self.recipe = task, recipe
        self.net = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 1))

    def training_step(self, batch, index):
        x, y = batch
        loss = mse_loss(self.net(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", mse_loss(self.net(x), y))
        self.log("val/error", l1_loss(self.net(x), y))

    def configure_optimizers(self):
        return adamw(
            self, self.recipe, learning_rate=self.task.learning_rate, steps=self.task.steps
        )


class NoisyValidation(Line):
    def validation_step(self, batch, index):
        x, y = batch
        super().validation_step((with_noise(x), y), index)


class Diverging(Line):
    def training_step(self, batch, index):
        return super().training_step(batch, index) / (self.global_step != 2)


class StartedByProcess(Line):
    def __init__(self, task, recipe):
        super().__init__(task, recipe)
        nn.init.constant_(self.net[0].bias, 1 / os.getpid())


class Forgetful(Line):
    seen = 0

    def training_step(self, batch, index):
        self.seen += 1
        return super().training_step(batch, index) * self.seen


class WithoutNorms(Line):
    def __init__(self, task, recipe):
        super().__init__(task, recipe)
        self.net[1] = nn.Tanh()


class NotLogging(Line):
    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", mse_loss(self.net(x), y))
        self.log("val/eror", l1_loss(self.net(x), y))
