"""Classification of sequences as the harness uses it."""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.task import Task
from dyt_dna.bases import reverse_complement
from dyt_dna.labelled import Labelled, LabelledData
from dyt_dna.models import SequenceClassifier, build
from dyt_dna.module import optimizers


class Classifier(LightningModule):
    """Logs ``train/loss``, ``val/loss`` (nats a sequence) and ``val/acc``.

    In training each sequence is shown as its reverse complement half of the time: both strands
    are of one class, and only Caduceus-PS knows.
    """

    def __init__(self, task: Task, data: LabelledData, recipe: TrainingPreset) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.units_per_sample = data.length
        self.model = SequenceClassifier(build(task.model, recipe.options), len(data.names))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits (B, classes)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: Labelled, index: int) -> Tensor:
        tokens, classes = batch
        turned = torch.rand(len(tokens), 1, device=tokens.device) < 0.5
        tokens = torch.where(turned, reverse_complement(tokens), tokens)
        loss = cross_entropy(self(tokens), classes)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Labelled, index: int) -> None:
        tokens, classes = batch
        logits = self(tokens)
        right = (logits.argmax(dim=-1) == classes).float().mean()
        self.log("val/loss", cross_entropy(logits, classes), batch_size=len(tokens))
        self.log("val/acc", right, batch_size=len(tokens))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return optimizers(self, self.model.backbone, self.task, self.recipe)
