"""The LightningModules: language models of next or masked bases, and classifiers."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import GenomeData, LabelledData, LabelledExample
from dyt_dna.data.windows import Example
from dyt_dna.models import Backbone, SequenceClassifier, build


class LanguageModel(LightningModule):
    """Logs ``train/loss`` and ``val/loss`` (nats a base, over the targets; N is no target).

    In validation also ``val/bits_per_base``, ``val/perplexity``, ``val/acc`` (share of bases
    whose likeliest prediction is right) and, for annotated genomes, ``val/loss_coding`` and
    ``val/loss_noncoding``. All are means over bases, not over batches.
    """

    def __init__(self, task: Task, data: GenomeData, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        self.annotated = data.annotated
        self.units_per_sample = data.length
        self.model = build(task.model, preset.options)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits of the targets (B, L, tokens)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: Example, index: int) -> Tensor:
        inputs, targets, _ = batch
        losses = target_losses(self(inputs), targets)
        loss = losses.sum() / (targets != UNKNOWN).sum().clamp(min=1)  # there may be none
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
        self.log("val/perplexity", self.trainer.callback_metrics["val/loss"].exp())

    def _log_mean(self, name: str, values: Tensor, where: Tensor) -> None:
        """The mean over the chosen bases, weighted by their number when batches are averaged."""
        count = int(where.sum())
        if count:
            self.log(name, values[where].mean(), batch_size=count)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return optimizers(self, self.model, self.task, self.preset)


class Classifier(LightningModule):
    """Logs ``train/loss``, ``val/loss`` (nats a sequence) and ``val/acc``.

    In training, half of the sequences are replaced by their reverse complement: both strands have
    one class, and only Caduceus-PS knows that by construction.
    """

    def __init__(self, task: Task, data: LabelledData, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        self.units_per_sample = data.length
        self.model = SequenceClassifier(build(task.model, preset.options), len(data.labelled.names))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits (B, classes)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: LabelledExample, index: int) -> Tensor:
        tokens, classes = batch
        turned = torch.rand(len(tokens), 1, device=tokens.device) < 0.5
        tokens = torch.where(turned, reverse_complement(tokens), tokens)
        loss = cross_entropy(self(tokens), classes)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: LabelledExample, index: int) -> None:
        tokens, classes = batch
        logits = self(tokens)
        right = (logits.argmax(dim=-1) == classes).float().mean()
        self.log("val/loss", cross_entropy(logits, classes), batch_size=len(tokens))
        self.log("val/acc", right, batch_size=len(tokens))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return optimizers(self, self.model.backbone, self.task, self.preset)


def build_module(
    task: Task, data: GenomeData | LabelledData, preset: TrainingPreset
) -> LanguageModel | Classifier:
    """A classifier of labelled sequences, else a language model."""
    if isinstance(data, LabelledData):
        return Classifier(task, data, preset)
    return LanguageModel(task, data, preset)


def optimizers(
    module: LightningModule, backbone: Backbone, task: Task, preset: TrainingPreset
) -> OptimizerLRSchedulerConfig:
    """AdamW, with a learning rate and decay of their own for the MLPs of HyenaDNA's filters.

    Reads the preset's options ``filter_rate`` and ``filter_weight_decay``.
    """
    own: Mapping[str, Any] = {
        "lr": task.learning_rate * float(preset.options.get("filter_rate", 1.0)),
        "weight_decay": float(preset.options.get("filter_weight_decay", 0.0)),
    }
    return adamw(
        module,
        preset,
        learning_rate=task.learning_rate,
        steps=task.steps,
        own=dict.fromkeys(backbone.own_parameters(), own),
    )


def target_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, L, tokens) and (B, L) -> (B, L) nats, zero where there is no target."""
    # Flat, because on a GPU the loss of (B, tokens, L) has no deterministic kernel.
    losses = cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=UNKNOWN, reduction="none"
    )
    return losses.view_as(targets)
