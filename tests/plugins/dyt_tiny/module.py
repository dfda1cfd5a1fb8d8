"""A small network whose every source of randomness is in use."""

import ctypes
import os
import random
import resource
import signal
import sys
import time

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from dyt_bench.plugin.data import SeededDataModule
from dyt_bench.plugin.optim import adamw

SLOW_S = 0.02  # a step of the model "slow", at least


def points(count, seed):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(1, keepdim=True))


class Noise(SeededDataModule):
    def __init__(self, task):
        super().__init__(points(44, 0), points(16, 1), batch_size=task.batch_size, seed=task.seed)


class Foreign(LightningDataModule):
    """A data module that knows nothing of the harness, as a third-party plug-in has it."""

    def __init__(self, task):
        super().__init__()
        self.task = task

    def train_dataloader(self):
        order = torch.Generator().manual_seed(self.task.seed)
        return DataLoader(points(44, 0), self.task.batch_size, shuffle=True, generator=order)

    def val_dataloader(self):
        return DataLoader(points(16, 1), 8)


class Line(LightningModule):
    units_per_sample = 1

    def __init__(self, task, training):
        super().__init__()
        self.save_hyperparameters()  # objects of any class, in a checkpoint
        self.task, self.recipe = task, training
        self.net = nn.Sequential(
            nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 1)
        )
        if task.model == "import":
            import dyt_tiny.broken  # noqa: F401

    def training_step(self, batch, index):
        if self.task.model == "slow":
            time.sleep(SLOW_S)
        elif self.global_step == 3:
            fail(self.task.model)
        x, y = batch
        x = x + 0.01 * np.random.randn() + 0.01 * random.random() + 0.001 * index
        loss = mse_loss(self.net(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", mse_loss(self.net(x), y))

    def configure_optimizers(self):
        return adamw(
            self, self.recipe, learning_rate=self.task.learning_rate, steps=self.task.steps
        )


def fail(how):
    if how == "raise":
        print("said before")
        raise RuntimeError("out of luck")
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        sys.exit("a plugin has no business here")
    if how == "vanish":
        os._exit(0)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(600)
    if how == "memory":
        hoard = np.ones((2, 2**30), dtype=np.uint8)  # all of it touched
        time.sleep(600 + hoard[0, 0])
    if how == "fill":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
