"""Cross-entropy classification."""

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from dyt_bench.cell import Task
from dyt_bench.domain import Training
from dyt_bench.optim import adamw
from dyt_vision.data import ImageData
from dyt_vision.models import MODELS


class Classifier(LightningModule):
    """Logs ``train/loss``, ``val/loss`` (nats) and ``val/acc`` (share of images, micro)."""

    units_per_sample = 1

    def __init__(self, task: Task, data: ImageData, recipe: Training) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.model = MODELS[task.model](data.channels, data.classes)
        self.accuracy = MulticlassAccuracy(data.classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, 32, 32) -> logits (B, classes)."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        loss = cross_entropy(self(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        logits = self(images)
        self.accuracy(logits, labels)
        self.log("val/loss", cross_entropy(logits, labels), batch_size=len(labels))
        self.log("val/acc", self.accuracy, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)
