"""A small network whose every source of randomness is in use."""

import os
import random
import signal
import sys
import time

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from dyt_bench.loading import SeededDataModule
from dyt_bench.optim import adamw

FAULT = os.environ.get("TINY_FAULT", "")
if FAULT == "import":
    raise RuntimeError("this plugin cannot be imported")
if FAULT == "crash on import":
    os.abort()


def points(count, seed):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(1, keepdim=True))


class Noise(SeededDataModule):
    def __init__(self, task):
        super().__init__(points(44, 0), points(16, 1), batch_size=task.batch_size, seed=task.seed)


class Foreign(LightningDataModule):
    """A data module that knows nothing of the harness, as a stranger would write it."""

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

    def __init__(self, task, training, size):
        super().__init__()
        self.save_hyperparameters()  # objects of any class, in a checkpoint
        self.task, self.recipe = task, training
        width, self.pause = size
        self.net = nn.Sequential(
            nn.Linear(8, width), nn.LayerNorm(width), nn.Dropout(0.2), nn.BatchNorm1d(width)
        )
        self.head = nn.Linear(width, 1)

    def training_step(self, batch, index):
        time.sleep(self.pause)
        if FAULT and not isinstance(self.net[1], nn.LayerNorm) and self.global_step == 3:
            fail(FAULT)
        x, y = batch
        x = x + 0.01 * np.random.randn() + 0.01 * random.random() + 0.001 * index
        loss = mse_loss(self.head(self.net(x)), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", mse_loss(self.head(self.net(x)), y))

    def configure_optimizers(self):
        return adamw(
            self, self.recipe, learning_rate=self.task.learning_rate, steps=self.task.steps
        )


def fail(how):
    print("about to fail:", how)
    match how:
        case "raise":
            raise RuntimeError("out of luck")
        case "segfault":
            import ctypes

            ctypes.string_at(0)
        case "exit":
            sys.exit("a plugin has no business here")
        case "vanish":
            os._exit(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(600)
        case "memory":
            hoard = [bytearray(os.urandom(1) * 2**20) for _ in range(2000)]
            time.sleep(600 + len(hoard))
