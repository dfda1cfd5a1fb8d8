"""The LightningModules: of a property, and of the next token."""

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics import MeanSquaredError

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_molecules.data.datamodule import MoleculeData
from dyt_molecules.data.tokens import PAD
from dyt_molecules.models import build


def property_module(task: Task, data: MoleculeData, preset: TrainingPreset) -> SupervisedModule:
    """Minimises squared error; logs ``val/rmse`` in standard deviations of the training set."""
    return SupervisedModule(
        build(task.model, len(data.vocabulary)),
        mse_loss,
        task=task,
        training=preset,
        metrics={"rmse": MeanSquaredError(squared=False)},
    )


class LanguageModel(LightningModule):
    """Minimises nats per token, padding left out; logs ``train/loss`` and ``val/loss``."""

    units_per_sample = 1

    def __init__(self, task: Task, data: MoleculeData, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        self.model = build(task.model, len(data.vocabulary))

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
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        targets = int((batch[0][:, 1:] != PAD).sum())  # a token counts the same in any batch
        self.log("val/loss", self.loss(batch), batch_size=targets)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.preset, learning_rate=task.learning_rate, steps=task.steps)
