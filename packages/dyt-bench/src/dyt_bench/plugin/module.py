"""LightningModules that stand alone: with any optimiser, and around any model and loss."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import Metric

from dyt_bench.plugin.data import weight
from dyt_bench.plugin.domain import Decays, TrainingPreset
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule, configured, optimization
from dyt_bench.plugin.task import Task

__all__ = ["SupervisedModule", "TrainableModule", "unsaved"]


class TrainableModule(LightningModule):
    """A LightningModule with the rate, optimiser and schedule that it is given.

    Args:
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
    """

    # How many values the loss of a training step is a mean over, where that differs from batch to
    # batch, as tokens without padding do; set by the step. Parts of a step are weighed by it.
    loss_count: Tensor | int | None = None

    def __init__(
        self,
        learning_rate: float,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule | None,
        decays: Decays = "matrices",
    ) -> None:
        super().__init__()
        self.learning_rate, self.optimizer, self.schedule = learning_rate, optimizer, schedule
        self.decays: Decays = decays

    def own_settings(self) -> Mapping[nn.Parameter, Mapping[str, Any]]:
        """Parameters with a rate or a decay of their own."""
        return {}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return configured(
            self,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            schedule=self.schedule,
            decays=self.decays,
            own=self.own_settings(),
        )


def unsaved(model: object) -> list[str]:
    """What `save_hyperparameters` ignores: functions, and a model that is given ready made.

    `load_from_checkpoint` takes them as arguments again.
    """
    return ["optimizer", "schedule", *(["model"] if isinstance(model, nn.Module) else [])]


class SupervisedModule(TrainableModule):
    """Minimises ``loss(model(inputs), targets)`` over batches ``(inputs, targets)``.

    Logs ``train/loss`` and ``val/loss``, and of a validation pass ``val/<name>`` for every one of
    ``metrics``. Means over a pass weight every sample, or what ``count`` counts, equally, also in a
    smaller last batch.

    Args:
        model: with its native norms; takes one argument.
        loss: of a batch, (outputs, targets) -> scalar, averaged over what ``count`` counts.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        task, training: the task given to `Domain.build_module`, and ``Domain.training(task)``,
            which then decide all four.
        metrics: name -> what is updated with (outputs, targets) and computed over a pass.
        count: of targets, how many values the loss is a mean over; None: one a sample.
        units_per_sample: how many of the domain's units a sample holds.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        *,
        learning_rate: float = 1e-3,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        task: Task | None = None,
        training: TrainingPreset | None = None,
        metrics: Mapping[str, Metric] | None = None,
        count: Callable[[Any], Tensor | int] | None = None,
        units_per_sample: int = 1,
    ) -> None:
        if task is not None and training is not None:
            super().__init__(**optimization(task, training))
        else:
            super().__init__(learning_rate, optimizer, schedule, decays)
        self.model, self.loss = model, loss
        self.metrics, self.count = nn.ModuleDict(metrics), count
        self.units_per_sample = units_per_sample

    def forward(self, inputs: Any) -> Any:
        return self.model(inputs)

    def training_step(self, batch: tuple[Any, Any], index: int) -> Tensor:
        inputs, targets = batch
        loss = self.loss(self(inputs), targets)
        if self.count is not None:
            self.loss_count = self.count(targets)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Any, Any], index: int) -> None:
        inputs, targets = batch
        outputs = self(inputs)
        samples = len(targets)
        loss = self.loss(outputs, targets)
        counted = samples if self.count is None else int(self.count(targets))
        self.log("val/loss", loss, batch_size=weight(counted), sync_dist=True)
        for name, metric in self.metrics.items():
            assert isinstance(metric, Metric)
            metric.update(outputs, targets)
            self.log(f"val/{name}", metric, batch_size=samples)
