"""The LightningModule of vision: classification by cross-entropy."""

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_vision.data.datamodule import VisionData
from dyt_vision.models import ARCHITECTURES


class Classifier(LightningModule):
    """Logs ``train/loss``, ``val/loss`` (nats) and ``val/acc`` (share of images, micro).

    Of the preset's options it reads ``drop_path`` (share of residual branches dropped, rising
    with depth), ``label_smoothing``, ``mixup`` and ``cutmix`` (the alpha of their Beta
    distribution; a batch gets one of the two); the data module reads the others.
    """

    units_per_sample = 1

    def __init__(self, task: Task, data: VisionData, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        option = {key: value for key, value in preset.options.items() if not isinstance(value, str)}
        self.model = ARCHITECTURES[task.model].build(
            data.channels, data.pixels, data.classes, option.get("drop_path", 0.0)
        )
        self.accuracy = MulticlassAccuracy(data.classes, average="micro")
        self.smoothing = option.get("label_smoothing", 0.0)
        self.mix: Mixup | None = None
        if option.get("mixup") or option.get("cutmix"):
            self.mix = Mixup(  # type: ignore[no-untyped-call]  # timm's
                mixup_alpha=option.get("mixup", 0.0),
                cutmix_alpha=option.get("cutmix", 0.0),
                label_smoothing=self.smoothing,
                num_classes=data.classes,
            )
        self.soft_cross_entropy = SoftTargetCrossEntropy()  # type: ignore[no-untyped-call]  # timm's

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> logits (B, classes)."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        loss: Tensor
        if self.mix is not None:
            images, shares = self.mix(images, labels)
            loss = self.soft_cross_entropy(self(images), shares)
        else:
            loss = cross_entropy(self(images), labels, label_smoothing=self.smoothing)
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
        return adamw(self, self.preset, learning_rate=task.learning_rate, steps=task.steps)
