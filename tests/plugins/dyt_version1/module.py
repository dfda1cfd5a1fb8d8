"""Data and module of a plug-in of contract version 1."""

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from dyt_bench.cell import Task
from dyt_bench.loading import SeededDataModule, at_most
from dyt_bench.supervised import SupervisedModule


def points(count, seed):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(1, keepdim=True))


class Noise(SeededDataModule):
    def __init__(self, task: Task):
        train = at_most(points(64, 0), task.train_samples)
        super().__init__(train, points(16, 1), batch_size=task.batch_size, seed=task.seed)


def line(task, training):
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 1))
    return SupervisedModule(model, mse_loss, task=task, training=training)
