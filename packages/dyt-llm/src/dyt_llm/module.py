"""The LightningModule of next-token prediction, with losses per byte and per token."""

from math import log

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_llm.data.datamodule import TextData
from dyt_llm.models import build


class LanguageModel(LightningModule):
    """Minimises nats per token; logs ``train/loss`` and ``val/loss`` in nats per byte.

    Losses per byte compare across tokenizers. Also logged are ``val/bits_per_byte`` and, per
    token, ``val/loss_token`` (nats) and ``val/perplexity``. If tokens are bytes, both losses are
    equal.

    Reads the preset's option ``micro_batch``, which `dyt_llm.catalog` explains.
    """

    token_bytes: Tensor

    def __init__(self, task: Task, data: TextData, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        self.units_per_sample = data.context
        self.micro_batch = int(preset.options.get("micro_batch", task.batch_size))
        self.model = build(task.model, len(data.codec.token_bytes))
        self.register_buffer("token_bytes", data.codec.token_bytes, persistent=False)
        self.nats, self.tokens, self.bytes = 0.0, 0, 0  # of the validation pass so far

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> logits (B, T, vocabulary) of the token after each."""
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits

    def token_nats(self, batch: Tensor) -> Tensor:
        """(B, T + 1) int64 -> (B, T) nats: the loss of each token but the first of a window."""
        logits = self(batch[:, :-1])
        return cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        nats, targets = self._nats(batch), batch[:, 1:]
        self.log("train/loss", nats.detach() / self.token_bytes[targets].sum())
        return nats / targets.numel()

    def on_validation_epoch_start(self) -> None:
        self.nats, self.tokens, self.bytes = 0.0, 0, 0

    def validation_step(self, batch: Tensor, index: int) -> None:
        targets = batch[:, 1:]
        self.nats += self._nats(batch).item()
        self.tokens += targets.numel()
        self.bytes += int(self.token_bytes[targets].sum())

    def on_validation_epoch_end(self) -> None:
        # All nats over all bytes: a mean over batches would weight short tokens more than long.
        by_byte, by_token = self.nats / self.bytes, self.nats / self.tokens
        self.log("val/loss", by_byte)
        self.log("val/bits_per_byte", by_byte / log(2))
        self.log("val/loss_token", by_token)
        self.log("val/perplexity", torch.tensor(by_token).exp())  # inf where math.exp would raise

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.preset, learning_rate=task.learning_rate, steps=task.steps)

    def _nats(self, batch: Tensor) -> Tensor:
        """The loss summed over a batch (B, T + 1)."""
        parts = torch.split(batch, self.micro_batch)
        if len(parts) == 1:
            return self._part_nats(batch)
        return torch.stack(
            [
                checkpoint(self._part_nats, part, use_reentrant=False, preserve_rng_state=False)
                for part in parts
            ]
        ).sum()

    def _part_nats(self, batch: Tensor) -> Tensor:
        logits = self(batch[:, :-1])
        return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
