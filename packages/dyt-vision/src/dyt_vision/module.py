"""The LightningModule of vision: classification by cross-entropy."""

import numpy as np
import torch
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torchmetrics.classification import MulticlassAccuracy

from dyt_bench.plugin.data import weight
from dyt_bench.plugin.domain import Decays, entry
from dyt_bench.plugin.module import TrainableModule, unsaved
from dyt_bench.plugin.noise import generators
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule
from dyt_vision.models import ARCHITECTURES


class Classifier(TrainableModule):
    """Logs ``train/loss``, ``val/loss`` (nats) and ``val/acc`` (share of images, micro).

    Args:
        model: (B, channels, S, S) -> logits (B, num_classes), or the name of one in
            `dyt_vision.models`, which is built.
        num_classes: two or more.
        channels, pixels: of the images, for a model that is built; a side has ``pixels``.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        drop_path: share of residual branches dropped, rising with depth, of a model that is built.
        label_smoothing: share of the target that all classes have in equal parts.
        mixup, cutmix: the alpha of their Beta distributions; each two images get one of the two.
        seed: of mixing, with the step and the images' place in it.

    Raises:
        UserError: no model has that name.
    """

    units_per_sample = 1

    def __init__(
        self,
        model: str | nn.Module,
        num_classes: int,
        *,
        channels: int = 3,
        pixels: int = 224,
        learning_rate: float = 1e-3,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        drop_path: float = 0.0,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        if isinstance(model, str):
            architecture = entry(ARCHITECTURES, model, "model")
            model = architecture.build(channels, pixels, num_classes, drop_path)
        self.model = model
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.seed, self.smoothing = seed, label_smoothing
        self.mix: Mixup | None = None
        if mixup or cutmix:
            self.mix = Mixup(  # type: ignore[no-untyped-call]  # timm's
                mixup_alpha=mixup,
                cutmix_alpha=cutmix,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
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
            images, shares = self._mixed(images, labels, index)
            loss = self.soft_cross_entropy(self(images), shares)
        else:
            loss = cross_entropy(self(images), labels, label_smoothing=self.smoothing)
        self.log("train/loss", loss)
        return loss

    def _mixed(self, images: Tensor, labels: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Each two neighbours mixed with each other: images, and shares of the classes."""
        assert self.mix is not None
        pairs = list(zip(torch.split(images, 2), torch.split(labels, 2), strict=True))
        state = np.random.get_state()  # timm draws from NumPy's global generator
        mixed = []
        for pair, by in zip(pairs, generators(self, self.seed, index, len(pairs)), strict=True):
            np.random.seed(by.initial_seed())
            mixed.append(self.mix(*pair))
        np.random.set_state(state)
        images, shares = (torch.cat(parts) for parts in zip(*mixed, strict=True))
        return images, shares

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        logits = self(images)
        self.accuracy(logits, labels)
        loss = cross_entropy(logits, labels)
        self.log("val/loss", loss, batch_size=weight(len(labels)), sync_dist=True)
        self.log("val/acc", self.accuracy, batch_size=len(labels))
