"""The LightningModule of self-supervised vision: MAE's or DINO's objective, then classification."""

import math
from collections.abc import Mapping
from typing import Any

from timm.layers.drop import DropPath
from torch import Tensor, nn

from dyt_bench.plugin.noise import generators
from dyt_bench.plugin.phases import PretrainedModule
from dyt_vision.module import Classifier
from dyt_vision.selfsupervised.dino import SelfDistillation
from dyt_vision.selfsupervised.models import Objective

_KEY = "teacher"  # of a checkpoint


class SelfSupervised(PretrainedModule, Classifier):
    """`Classifier` of a model that first minimises its own objective, without labels.

    Logs what `Classifier` logs, ``train/loss`` of the objective while it pretrains. The classes are
    validated in both phases: in pretraining by a linear layer as it was at the start.

    Args:
        model: as one of `dyt_vision.selfsupervised.models`.
        layer_decay: in fine-tuning, the factor on the rate from a layer to the one below it.
        classifier: arguments of `Classifier`.
    """

    model: Objective

    def __init__(
        self, model: Objective, num_classes: int, *, layer_decay: float = 1.0, **classifier: Any
    ) -> None:
        super().__init__(model, num_classes, **classifier)
        self.layer_decay = layer_decay
        drops = [part for part in model.modules() if isinstance(part, DropPath)]
        self._drops = [(part, part.drop_prob) for part in drops]

    def _enter(self, *, pretraining: bool) -> None:
        super()._enter(pretraining=pretraining)
        for part, rate in self._drops:
            part.drop_prob = 0.0 if pretraining else rate
        if isinstance(self.model, SelfDistillation) and not pretraining:
            self.model.teacher = {}  # its task is over

    def own_settings(self) -> Mapping[nn.Parameter, Mapping[str, Any]]:
        """In fine-tuning a rate for each layer of the encoder, the lower the smaller."""
        if self.is_pretraining or self.layer_decay == 1:
            return {}
        depth = len(self.model.encoder.blocks)
        return {
            parameter: {"lr": self.learning_rate * self.layer_decay ** (depth + 1 - layer)}
            for name, parameter in self.model.encoder.named_parameters()
            if (layer := _layer(name, depth)) <= depth
        }

    def pretraining_step(self, batch: Any, index: int) -> Tensor:
        images = batch[0].flatten(0, 1)  # (B, k, C, S, S) -> (B k, C, S, S)
        if isinstance(self.model, SelfDistillation):
            self.model.warm_up(self.global_step / self.pretraining_steps)
        by = generators(self, self.seed, index, len(images))
        loss = self.model.objective(images, by, attached=self._trainer is not None)
        self.log("train/loss", loss)
        return loss

    # Lightning's hooks

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.is_pretraining and isinstance(self.model, SelfDistillation):
            done = self.global_step / self.pretraining_steps
            left = (1 - self.model.momentum) * (1 + math.cos(math.pi * min(1.0, done))) / 2
            self.model.follow(1 - left)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.model, SelfDistillation):
            checkpoint[_KEY] = self.model.teacher

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if isinstance(self.model, SelfDistillation):
            self.model.teacher = checkpoint[_KEY]


def _layer(name: str, depth: int) -> int:
    """Of a ViT's parameter: 0 of the embeddings, then the blocks; the norm and head come last."""
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return 0 if name.startswith(("patch_embed", "cls_token", "pos_embed")) else depth + 1
