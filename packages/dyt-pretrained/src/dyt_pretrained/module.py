"""The LightningModules: classes, numbers, the next token, and tokens that are masked."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from dyt_bench.plugin.domain import DataError, TrainingPreset
from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.plugin.task import Task
from dyt_pretrained.data.datamodule import FineTuningData
from dyt_pretrained.data.encoding import IGNORED, Inputs
from dyt_pretrained.models import build

# BERT's, arXiv 1810.04805, section 3.1: of the tokens that are predicted most are hidden, some are
# others, some stay.
_MASKED, _HIDDEN, _CHANGED = 0.15, 0.8, 0.1
_SEED = 0  # of validation's masks


def build_module(task: Task, data: FineTuningData, preset: TrainingPreset) -> SupervisedModule:
    """The checkpoint with the task's head, its loss and its metrics.

    Raises:
        DataError: the checkpoint has no such head, or its tokenizer no mask.
    """
    model = build(task.model, data)
    options: dict[str, Any] = {"task": task, "training": preset}
    if task.model == "regression":
        rmse = MeanSquaredError(squared=False)
        return SupervisedModule(model, mse_loss, metrics={"rmse": rmse}, **options)
    if task.model == "causal-lm":
        metrics = {"nats": NatsPerToken()}
        return SupervisedModule(model, _nats, metrics=metrics, count=_targets, **options)
    if task.model == "masked-lm":
        if data.tokenizer.mask_token_id is None:
            raise DataError(
                f"{data.start.folder}: its tokenizer has no mask, which the model 'masked-lm' "
                "needs: choose 'causal-lm'"
            )
        metrics = {"nats": NatsPerToken()}
        return MaskedModelling(
            model, _nats, data.tokenizer, metrics=metrics, count=_targets, **options
        )
    count = len(data.samples.classes)
    classes: dict[str, Metric] = {
        "acc": MulticlassAccuracy(count, average="micro", ignore_index=IGNORED),
        "f1": MulticlassF1Score(count, average="macro", ignore_index=IGNORED),
    }
    return SupervisedModule(model, _nats, metrics=classes, count=_targets, **options)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets, ignore_index=IGNORED)


def _targets(targets: Tensor) -> Tensor:
    return (targets != IGNORED).sum()


class NatsPerToken(Metric):
    """The loss of all tokens of a pass that have a target, each weighed equally."""

    full_state_update = False
    nats: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (B, V, T), targets (B, T)."""
        total = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        self.nats += total.detach().double()
        self.tokens += (targets != IGNORED).sum()

    def compute(self) -> Tensor:
        return (self.nats / self.tokens).float()


class MaskedModelling(SupervisedModule):
    """Hides a part of each batch's tokens; validation hides always the same."""

    def __init__(self, model: Any, loss: Any, tokenizer: Any, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.mask_token, self.vocabulary = tokenizer.mask_token_id, len(tokenizer)
        self.random = torch.Generator()

    def training_step(self, batch: tuple[Any, Any], index: int) -> Tensor:
        return super().training_step(self._masked(batch, None), index)

    def on_validation_epoch_start(self) -> None:
        self.random.manual_seed(_SEED)

    def validation_step(self, batch: tuple[Any, Any], index: int) -> None:
        super().validation_step(self._masked(batch, self.random), index)

    def _masked(
        self, batch: tuple[Inputs, Tensor], random: torch.Generator | None
    ) -> tuple[Inputs, Tensor]:
        """Inputs in which some tokens are hidden, and these alone as targets."""
        inputs, targets = batch
        ids = inputs["input_ids"]
        chance = torch.rand(ids.shape, generator=random).to(ids.device)
        others = torch.randint(self.vocabulary, ids.shape, generator=random).to(ids.device)
        chosen = (chance < _MASKED) & (targets != IGNORED)
        # At least one token of a batch, so that there is a loss.
        if not chosen.any():
            chosen = targets != IGNORED
        ids = torch.where(chosen & (chance < _MASKED * _HIDDEN), self.mask_token, ids)
        changed = chosen & (chance >= _MASKED * _HIDDEN)
        changed &= chance < _MASKED * (_HIDDEN + _CHANGED)
        ids = torch.where(changed, others, ids)
        return {**inputs, "input_ids": ids}, targets.where(chosen, IGNORED)
