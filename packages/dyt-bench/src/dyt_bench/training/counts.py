"""Losses that are means over other numbers of values in each part of a step."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from dyt_bench.plugin.data import place, summed


class Counts(Callback):
    """Weighs the parts of a step by the module's ``loss_count``, where it says one.

    A Trainer takes the mean of the parts' gradients. With means over n_i values, that of the whole
    step is ``sum n_i g_i / sum n_i``: each gradient is multiplied by its count on the way back, and
    their mean is divided by the mean count before it is clipped.
    """

    def __init__(self) -> None:
        self._counts: list[Tensor] = []  # of the step's parts so far

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int
    ) -> None:
        module.loss_count = None  # type: ignore[assignment]  # of any LightningModule

    def on_before_backward(self, trainer: Trainer, module: LightningModule, loss: Tensor) -> None:
        count: Any = module.loss_count
        if count is None or place()[1] * trainer.accumulate_grad_batches == 1:
            return
        own = torch.as_tensor(count, dtype=torch.float32, device=loss.device)
        self._counts.append(own)
        loss.register_hook(lambda gradient: gradient * own)  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        if not self._counts:
            return
        parts = place()[1] * len(self._counts)
        mean = summed(torch.stack(self._counts).sum().double()) / parts
        self._counts = []
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(mean.to(parameter.grad.device, parameter.grad.dtype))
