"""A LightningModule around an existing model, for `Domain.build_module` to return."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task

__all__ = ["SupervisedModule"]


class SupervisedModule(LightningModule):
    """Minimises ``loss(model(inputs), targets)`` over batches ``(inputs, targets)``, by AdamW.

    Logs ``train/loss`` and ``val/loss``, and of a validation pass ``val/<name>`` for every one of
    ``metrics``. Means over a pass weight every sample equally, also in a smaller last batch.

    Args:
        model: with its native norms; takes one argument.
        loss: of a batch, (outputs, targets) -> scalar, averaged over its samples.
        task: given to `Domain.build_module`.
        training: ``Domain.training(task)``.
        metrics: name -> what is updated with (outputs, targets) and computed over a pass.
        units_per_sample: how many of the domain's units a sample holds.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        *,
        task: Task,
        training: TrainingPreset,
        metrics: Mapping[str, Metric] | None = None,
        units_per_sample: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        self.task, self.preset = task, training
        self.metrics = nn.ModuleDict(metrics)
        self.units_per_sample = units_per_sample

    def forward(self, inputs: Any) -> Any:
        return self.model(inputs)

    def training_step(self, batch: tuple[Any, Any], index: int) -> Tensor:
        inputs, targets = batch
        loss = self.loss(self(inputs), targets)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Any, Any], index: int) -> None:
        inputs, targets = batch
        outputs = self(inputs)
        samples = len(targets)
        self.log("val/loss", self.loss(outputs, targets), batch_size=samples)
        for name, metric in self.metrics.items():
            assert isinstance(metric, Metric)
            metric.update(outputs, targets)
            self.log(f"val/{name}", metric, batch_size=samples)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.preset, learning_rate=task.learning_rate, steps=task.steps)
