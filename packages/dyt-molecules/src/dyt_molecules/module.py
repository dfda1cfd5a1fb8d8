"""The LightningModules: of a property, and of the next token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import AdamW
from torchmetrics import MeanSquaredError

from dyt_bench.plugin.data import weight
from dyt_bench.plugin.domain import Decays, TrainingPreset
from dyt_bench.plugin.module import SupervisedModule, TrainableModule, unsaved
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule, optimization
from dyt_bench.plugin.task import Task
from dyt_molecules.data.datamodule import MoleculeData
from dyt_molecules.data.tokens import PAD
from dyt_molecules.models import build


def property_module(task: Task, data: MoleculeData, preset: TrainingPreset) -> SupervisedModule:
    """Minimises squared error; logs ``val/rmse`` in standard deviations of the training set."""
    return SupervisedModule(
        build(task.model, len(data.vocabulary)),
        mse_loss,
        **optimization(task, preset),
        metrics={"rmse": MeanSquaredError(squared=False)},
    )


def language_model(task: Task, data: MoleculeData, preset: TrainingPreset) -> LanguageModel:
    """Of the next token of a molecule's SMILES."""
    return LanguageModel(build(task.model, len(data.vocabulary)), **optimization(task, preset))


class LanguageModel(TrainableModule):
    """Minimises nats per token, padding left out; logs ``train/loss`` and ``val/loss``.

    Args:
        model: (B, T) int64 -> logits (B, T, vocabulary) of the token after each.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
    """

    units_per_sample = 1

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float = 1e-3,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> logits (B, T, vocabulary) of the token after each."""
        logits: Tensor = self.model(tokens)
        return logits

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, _ = batch
        logits = self(tokens[:, :-1])
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = self.loss(batch)
        self.loss_count = targets(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        # a token counts the same in any batch
        self.log("val/loss", self.loss(batch), batch_size=weight(targets(batch)), sync_dist=True)


def targets(batch: tuple[Tensor, Tensor]) -> int:
    """How many tokens of a batch are predicted."""
    return int((batch[0][:, 1:] != PAD).sum())
