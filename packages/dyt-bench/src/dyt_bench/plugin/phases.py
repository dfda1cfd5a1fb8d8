"""Training in two phases: on an objective without labels, then on the task itself."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dyt_bench.plugin.data import ShuffledBatches
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.module import TrainableModule
from dyt_bench.plugin.optim import Optimization, optimization
from dyt_bench.plugin.task import Task

__all__ = [
    "Groups",
    "PhasedBatches",
    "PhasedSamples",
    "PretrainedModule",
    "phases",
    "pretraining_steps",
]

_OPTION = "pretraining_"  # what the options of a preset that are read here begin with


def pretraining_steps(task: Task, preset: TrainingPreset) -> int:
    """Of the task's steps, the preset's ``pretraining_share``, at least one and not all.

    Raises:
        ValueError: the task has one step, or the share is not between 0 and 1.
    """
    share = float(preset.options[f"{_OPTION}share"])
    if task.steps < 2 or not 0 < share < 1:
        raise ValueError(
            "pretraining and fine-tuning need two steps and a pretraining_share between 0 and 1, "
            f"got {task.steps} steps and {share:g}"
        )
    return min(max(1, round(share * task.steps)), task.steps - 1)


def phases(task: Task, preset: TrainingPreset) -> tuple[Optimization, Optimization]:
    """How pretraining and fine-tuning are optimised, each over its own steps.

    Fine-tuning has the task's rate and the preset's fields. Pretraining has the same, but for the
    preset's options ``pretraining_rate``, a factor on the task's rate, ``pretraining_beta1``,
    ``pretraining_beta2``, ``pretraining_weight_decay``, ``pretraining_warmup`` and
    ``pretraining_final_rate``.
    """
    steps, given = pretraining_steps(task, preset), _of_pretraining(preset.options)
    before = replace(
        preset,
        betas=(given.get("beta1", preset.betas[0]), given.get("beta2", preset.betas[1])),
        weight_decay=given.get("weight_decay", preset.weight_decay),
        warmup=given.get("warmup", preset.warmup),
        final_rate=given.get("final_rate", preset.final_rate),
    )
    rate = task.learning_rate * given.get("rate", 1.0)
    return (
        optimization(replace(task, steps=steps, val_every=1, learning_rate=rate), before),
        optimization(replace(task, steps=task.steps - steps, val_every=1), preset),
    )


def _of_pretraining(options: Mapping[str, float | str]) -> dict[str, float]:
    own = {name: value for name, value in options.items() if name.startswith(_OPTION)}
    return {name.removeprefix(_OPTION): float(value) for name, value in own.items()}


class PretrainedModule(TrainableModule):
    """A module whose first steps minimise another loss, by an optimiser and schedule of their own.

    To be inherited before the class whose ``training_step`` is that of fine-tuning::

        class FineTuned(PretrainedModule, Classifier):
            def pretraining_step(self, batch, index): ...

    Without a call of `pretrain_first` it trains as that class does. Where fine-tuning begins, a
    new optimiser starts without moments. A checkpoint resumes in either phase. Both phases log
    under the same names: Lightning repeats what was logged once at all later steps.
    """

    pretraining_steps = 0
    is_pretraining = False
    skips_layers = True  # the head that the other phase trains: no process waits for its gradients

    def pretrain_first(self, steps: int, before: Optimization, after: Optimization) -> None:
        """Pretrain for so many steps; to be called before training.

        Args:
            before, after: how pretraining and fine-tuning are optimised.
        """
        self.pretraining_steps = steps
        self._phases = before, after
        self._enter(pretraining=True)

    def _enter(self, *, pretraining: bool) -> None:
        before, after = self._phases
        how = before if pretraining else after
        self.is_pretraining = pretraining
        self.learning_rate, self.decays = how["learning_rate"], how["decays"]
        self.optimizer, self.schedule = how["optimizer"], how["schedule"]

    def pretraining_step(self, batch: Any, index: int) -> Tensor:
        """The loss of a batch in pretraining."""
        raise NotImplementedError

    def training_step(self, batch: Any, index: int) -> Tensor:
        if self.is_pretraining:
            return self.pretraining_step(batch, index)
        loss: Tensor = super().training_step(batch, index)  # type: ignore[assignment]
        return loss

    # Lightning's hooks

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        # Here, where the schedule has moved and no checkpoint is taken yet: a checkpoint has the
        # optimiser of the next step.
        if self.is_pretraining and self.global_step >= self.pretraining_steps:
            self._enter(pretraining=False)
            self.trainer.strategy.setup_optimizers(self.trainer)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.pretraining_steps:
            self._enter(pretraining=checkpoint["global_step"] < self.pretraining_steps)


class Groups(Dataset[Any]):
    """Samples in groups of ``size``, collated into one; those of a group are far from each other.

    A step of pretraining then sees ``size`` times as many samples as one of fine-tuning.

    Args:
        samples: given ``(step, index)`` where ``paired``, and else the index.
    """

    def __init__(self, samples: Any, size: int, *, paired: bool = False) -> None:
        self.samples, self.size, self.paired = samples, size, paired

    def __len__(self) -> int:
        return len(self.samples) // self.size

    def __getitem__(self, at: tuple[int, int]) -> Any:
        step, index = at
        places = [index + n * len(self) for n in range(self.size)]
        return default_collate(
            [self.samples[(step, place) if self.paired else place] for place in places]
        )


class PhasedSamples(Dataset[Any]):
    """Groups to pretrain on, followed by samples to fine-tune on, for `PhasedBatches`."""

    def __init__(self, before: Groups, after: Any) -> None:
        self.before, self.after = before, after

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def __getitem__(self, at: tuple[int, int]) -> Any:
        step, index = at
        own = index - len(self.before)
        return self.before[step, index] if own < 0 else self.after[own]


class PhasedBatches(ShuffledBatches):
    """Batches of `PhasedSamples`: each phase in an order of its own; indices are ``(step, index)``.

    Args:
        steps: of pretraining.
        before, after: the orders of the two phases, of batches equally large.
    """

    def __init__(self, steps: int, before: ShuffledBatches, after: ShuffledBatches) -> None:
        super().__init__(after.samples, after.batch_size, after.seed)
        self.steps, self.before, self.after = steps, before, after

    def indices(self, step: int) -> Any:
        """The samples of batch ``step``, counted from 0 over both phases."""
        if step < self.steps:
            return self.before.indices(step)
        return self.before.samples + self.after.indices(step - self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        epoch, first = self.epoch, self.first
        self.seek(epoch + 1, 0)
        for step in range(epoch * len(self) + first, (epoch + 1) * len(self)):
            yield [(step, index) for index in self.indices(step).tolist()]
