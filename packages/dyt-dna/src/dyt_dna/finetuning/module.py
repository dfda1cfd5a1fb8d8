"""The LightningModule of fine-tuning: a language model first, then a classifier on its features."""

from typing import Any

from torch import Tensor

from dyt_bench.plugin.phases import PretrainedModule
from dyt_dna.bases import UNKNOWN
from dyt_dna.models import SequenceClassifier
from dyt_dna.module import Classifier, target_losses


class FineTuned(PretrainedModule, Classifier):
    """`Classifier` that first predicts the next or the masked bases of windows without labels.

    Logs what `Classifier` logs, ``train/loss`` in nats a base while it pretrains. The classes are
    validated in both phases: in pretraining by a linear layer as it was at the start. The arguments
    are those of `Classifier`; `pretrain_first` sets the steps of pretraining.
    """

    model: SequenceClassifier

    def pretraining_step(self, batch: Any, index: int) -> Tensor:
        inputs, targets, _ = (part.flatten(0, 1) for part in batch)  # (B, k, L) -> (B k, L)
        # A mean over windows of their means, so that no window's weight depends on the others.
        known = (targets != UNKNOWN).sum(1).clamp(min=1)
        losses = target_losses(self.model.backbone(inputs), targets)
        loss: Tensor = (losses.sum(1) / known).mean()
        self.log("train/loss", loss)
        return loss
