"""Next-token prediction, judged by the byte so that tokenizers can be compared."""

from math import log

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from dyt_bench.cell import Task
from dyt_bench.domain import Training
from dyt_bench.optim import adamw
from dyt_llm.data import CONTEXT, TextData
from dyt_llm.models import MODELS


class LanguageModel(LightningModule):
    """Minimises nats per token; logs ``train/loss`` and ``val/loss`` in nats per byte.

    Also logs ``val/bits_per_byte``, and of tokens ``val/loss_token`` (nats) and
    ``val/perplexity``. With bytes as tokens the two losses are one.
    """

    units_per_sample = CONTEXT
    token_bytes: Tensor

    def __init__(self, task: Task, data: TextData, recipe: Training) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.model = MODELS[task.model](len(data.token_bytes), CONTEXT)
        self.register_buffer("token_bytes", data.token_bytes, persistent=False)
        self.nats, self.tokens, self.bytes = 0.0, 0, 0  # of the validation pass so far

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> logits (B, T, vocabulary) of the token after each."""
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        nats, targets = self._nats(batch)
        self.log("train/loss", nats.detach() / self.token_bytes[targets].sum())
        return nats / targets.numel()

    def on_validation_epoch_start(self) -> None:
        self.nats, self.tokens, self.bytes = 0.0, 0, 0

    def validation_step(self, batch: Tensor, index: int) -> None:
        nats, targets = self._nats(batch)
        self.nats += nats.item()
        self.tokens += targets.numel()
        self.bytes += int(self.token_bytes[targets].sum())

    def on_validation_epoch_end(self) -> None:
        # All nats over all bytes: a mean of batches would weigh short tokens more than long.
        by_byte, by_token = self.nats / self.bytes, self.nats / self.tokens
        self.log("val/loss", by_byte)
        self.log("val/bits_per_byte", by_byte / log(2))
        self.log("val/loss_token", by_token)
        self.log("val/perplexity", torch.tensor(by_token).exp())  # inf where math.exp raises

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)

    def _nats(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The loss summed over a batch (B, T + 1), and the targets (B, T) it is of."""
        targets = batch[:, 1:]
        logits = self(batch[:, :-1])
        nats = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return nats, targets
