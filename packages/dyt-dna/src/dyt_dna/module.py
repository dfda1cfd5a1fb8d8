"""The LightningModules: language models of next or masked bases, and classifiers."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from dyt_bench.plugin.data import weight
from dyt_bench.plugin.domain import Decays
from dyt_bench.plugin.module import TrainableModule, unsaved
from dyt_bench.plugin.noise import drawn, generators
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule
from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import LabelledExample
from dyt_dna.data.windows import Example
from dyt_dna.models import SequenceClassifier, build, filter_parameters


class _Reader(TrainableModule):
    """With a learning rate and decay of their own for the MLPs of HyenaDNA's filters."""

    filter_rate: float  # a factor on the learning rate
    filter_weight_decay: float

    def own_settings(self) -> Mapping[nn.Parameter, Mapping[str, Any]]:
        own = {
            "lr": self.learning_rate * self.filter_rate,
            "weight_decay": self.filter_weight_decay,
        }
        return dict.fromkeys(filter_parameters(self), own)


class LanguageModel(_Reader):
    """Logs ``train/loss`` and ``val/loss`` (nats a base, over the targets; N is no target).

    In validation also ``val/bits_per_base``, ``val/perplexity``, ``val/acc`` (share of bases
    whose likeliest prediction is right) and, for annotated genomes, ``val/loss_coding`` and
    ``val/loss_noncoding``. All are means over bases, not over batches.

    Args:
        model: (B, L) int64 -> logits of the targets (B, L, tokens), or the name of one in
            `dyt_dna.shapes`, which is built.
        length: bases of a sample, for units a second.
        annotated: whether the genome says which bases are coding.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        dropout: share of the embedding's channels dropped in training, of a HyenaDNA that is built.
        filter_rate: factor on the learning rate of HyenaDNA's filters.
        filter_weight_decay: their weight decay.

    Raises:
        UserError: no model has that name.
    """

    def __init__(
        self,
        model: str | nn.Module = "hyena-w64",
        *,
        length: int = 1,
        annotated: bool = False,
        learning_rate: float = 6e-4,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        dropout: float = 0.0,
        filter_rate: float = 1.0,
        filter_weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        self.filter_rate, self.filter_weight_decay = filter_rate, filter_weight_decay
        self.annotated, self.units_per_sample = annotated, length
        self.model = build(model, dropout) if isinstance(model, str) else model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits of the targets (B, L, tokens)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: Example, index: int) -> Tensor:
        inputs, targets, _ = batch
        # A mean over windows of their means, so that no window's weight depends on the others.
        known = (targets != UNKNOWN).sum(1).clamp(min=1)  # there may be none
        loss = (target_losses(self(inputs), targets).sum(1) / known).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Example, index: int) -> None:
        inputs, targets, coding = batch
        logits = self(inputs)
        losses = target_losses(logits, targets)
        known = targets != UNKNOWN
        self._log_mean("val/loss", losses, known)
        self._log_mean("val/bits_per_base", losses / math.log(2), known)
        self._log_mean("val/acc", (logits.argmax(dim=-1) == targets).float(), known)
        if self.annotated:
            self._log_mean("val/loss_coding", losses, known & coding)
            self._log_mean("val/loss_noncoding", losses, known & ~coding)

    def on_validation_epoch_end(self) -> None:
        """Log the perplexity, which is that of the mean loss."""
        perplexity = self.trainer.callback_metrics["val/loss"].exp()
        self.log("val/perplexity", perplexity, sync_dist=True)  # which is the same everywhere

    def _log_mean(self, name: str, values: Tensor, where: Tensor) -> None:
        """The mean over the chosen bases, weighted by their number when batches are averaged."""
        count = int(where.sum())
        mean = values[where].mean() if count else values.new_zeros(())
        self.log(name, mean, batch_size=weight(count), sync_dist=True)


class Classifier(_Reader):
    """Logs ``train/loss``, ``val/loss`` (nats a sequence) and ``val/acc``.

    In training, half of the sequences are replaced by their reverse complement: both strands have
    one class, and only Caduceus-PS knows that by construction.

    Args:
        model: (B, L) int64 -> logits (B, num_classes), or the name of a language model in
            `dyt_dna.shapes`, which is built with a linear layer on the mean of its features.
        num_classes: two or more.
        length, dropout, filter_rate, filter_weight_decay: as for `LanguageModel`.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        seed: with the step and a sequence's place in it, decides which are reversed.

    Raises:
        UserError: no model has that name.
    """

    def __init__(
        self,
        model: str | nn.Module,
        num_classes: int,
        *,
        length: int = 1,
        learning_rate: float = 6e-4,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        dropout: float = 0.0,
        filter_rate: float = 1.0,
        filter_weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        self.filter_rate, self.filter_weight_decay = filter_rate, filter_weight_decay
        self.seed, self.units_per_sample = seed, length
        if isinstance(model, str):
            model = SequenceClassifier(build(model, dropout), num_classes)
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits (B, classes)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: LabelledExample, index: int) -> Tensor:
        tokens, classes = batch
        by = generators(self, self.seed, index, len(tokens))
        turned = drawn(by, lambda g: torch.rand(1, generator=g), tokens.device) < 0.5
        tokens = torch.where(turned, reverse_complement(tokens), tokens)
        loss = cross_entropy(self(tokens), classes)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: LabelledExample, index: int) -> None:
        tokens, classes = batch
        logits = self(tokens)
        right = (logits.argmax(dim=-1) == classes).float().mean()
        loss = cross_entropy(logits, classes)
        self.log("val/loss", loss, batch_size=weight(len(tokens)), sync_dist=True)
        self.log("val/acc", right, batch_size=weight(len(tokens)), sync_dist=True)


def target_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, L, tokens) and (B, L) -> (B, L) nats, zero where there is no target."""
    # Flat, because on a GPU the loss of (B, tokens, L) has no deterministic kernel.
    losses = cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=UNKNOWN, reduction="none"
    )
    return losses.view_as(targets)
