"""Next-nucleotide prediction."""

import math

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from dyt_bench.cell import Task
from dyt_bench.domain import Training
from dyt_bench.optim import adamw
from dyt_dna.data import LENGTH, UNKNOWN, GenomeData
from dyt_dna.models import MODELS


class LanguageModel(LightningModule):
    """Logs ``train/loss`` and ``val/loss`` (nats a base, over the known ones: an N is no target).

    In validation also ``val/bits_per_base``, ``val/perplexity``, ``val/acc`` (share of bases
    whose likeliest guess was right) and, for annotated genomes, ``val/loss_coding`` and
    ``val/loss_noncoding``. All are means over bases, not over batches.
    """

    units_per_sample = LENGTH

    def __init__(self, task: Task, data: GenomeData, recipe: Training) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.annotated = data.annotated
        self.model = MODELS[task.model](LENGTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> logits of the next base (B, L, 5)."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        tokens, _ = batch
        targets = tokens[:, 1:]
        losses = _losses(self(tokens[:, :-1]), targets)
        loss = losses.sum() / (targets != UNKNOWN).sum().clamp(min=1)  # a window may be all N
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        tokens, coding = batch
        targets, coding = tokens[:, 1:], coding[:, 1:]
        logits = self(tokens[:, :-1])
        losses = _losses(logits, targets)
        known = targets != UNKNOWN
        self._log_mean("val/loss", losses, known)
        self._log_mean("val/bits_per_base", losses / math.log(2), known)
        self._log_mean("val/acc", (logits.argmax(dim=-1) == targets).float(), known)
        if self.annotated:
            self._log_mean("val/loss_coding", losses, known & coding)
            self._log_mean("val/loss_noncoding", losses, known & ~coding)

    def on_validation_epoch_end(self) -> None:
        """The perplexity is that of the mean loss, which is known only now."""
        self.log("val/perplexity", self.trainer.callback_metrics["val/loss"].exp())

    def _log_mean(self, name: str, values: Tensor, where: Tensor) -> None:
        """The mean over the chosen bases, weighted by their number when batches are averaged."""
        count = int(where.sum())
        if count:
            self.log(name, values[where].mean(), batch_size=count)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The shared recipe. HyenaDNA spares the filters' weights from decay; here they are not
        singled out, as decay takes less than one percent off a weight in the default budget."""
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, L, 5) and (B, L) -> (B, L) nats, zero where the target is not known."""
    # Flat, because on a GPU the loss of (B, 5, L) has no deterministic kernel.
    losses = cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=UNKNOWN, reduction="none"
    )
    return losses.view_as(targets)
