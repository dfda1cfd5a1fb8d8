"""Trains one model with one start and one seed, as `dyt-bench run` would, and records it."""

import logging
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from benchmarks.calibration.starts import STARTS
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import nn

import dyt
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import Run, Task
from dyt_bench.suite.expand import Selection, load_suite
from dyt_bench.suite.shipped import suite_file
from dyt_bench.training.build import build
from dyt_bench.training.trainer import Diverged, make_trainer

SUITE = suite_file("default")


@dataclass(frozen=True)
class Row:
    """The result of one model, start and seed."""

    model: str  # domain/model
    start: str
    seed: int
    steps: int
    learning_rate: float
    value: float | None  # the domain's metric at the end; None if the loss became infinite or NaN
    metrics: dict[str, float]  # the last validation
    loss: list[float]  # of training: means over twentieths of the budget
    gradient: list[float]  # largest norm of the gradient in each of them
    saturation: float | None  # mean over layers of the share of saturated inputs, at the end
    seconds: float  # of processor time
    code: str  # digest of the domain's code and dyt's


def tasks(seeds: int, steps: int | None) -> list[Task]:
    """The tasks of the default suite, seed by seed, with one validation at the end."""
    suite = load_suite(SUITE, discover(), Selection((), seeds, steps))
    at_the_end = [replace(task, val_every=task.steps) for task in suite.tasks]
    return sorted(at_the_end, key=lambda task: task.seed)


def run(task: Task, name: str, threads: int) -> Row:
    """Train ``task`` with the start called ``name``, on so many threads."""
    _hush()
    torch.set_num_threads(threads)
    started = time.process_time()
    domain, start = discover().domain(task.domain), STARTS[name]
    data, module, _ = build(resolve(Run(task=task, variant=start.variant), domain))
    if start.calibrate is not None:
        dyt.convert(module, "dyt", exclude=domain.models[task.model].exclude)
        start.calibrate(module, data)
    watch = TrainingWatch(start.alpha_rate)
    trainer = make_trainer(task, domain.training(task), False, [watch])
    seed_everything(task.seed, verbose=False)
    value: float | None = None
    metrics: dict[str, float] = {}
    try:
        trainer.fit(module, datamodule=data)
        metrics = {key: float(v) for key, v in trainer.callback_metrics.items() if "val/" in key}
        value = metrics[domain.metric.name]
    except Diverged:
        pass
    return Row(
        model=f"{task.domain}/{task.model}",
        start=name,
        seed=task.seed,
        steps=task.steps,
        learning_rate=task.learning_rate,
        value=value,
        metrics={key: _rounded(v) for key, v in metrics.items()},
        loss=[_rounded(math.fsum(part) / len(part)) for part in _twentieths(watch.losses)],
        gradient=[_rounded(max(part)) for part in _twentieths(watch.gradients)],
        saturation=watch.saturation,
        seconds=round(time.process_time() - started, 1),
        code=task.code_digest,
    )


class TrainingWatch(Callback):
    """Records loss, gradient norm and saturation; can give alpha a learning rate of its own."""

    def __init__(self, alpha_rate: float) -> None:
        self.alpha_rate = alpha_rate
        self.losses: list[float] = []
        self.gradients: list[float] = []
        self.saturation: float | None = None
        self._before: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._probe: Any = None

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Any
    ) -> None:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        self.gradients.append(float(nn.utils.get_total_norm(gradients)))
        if self.alpha_rate != 1:
            alphas = [m.alpha for m in module.modules() if isinstance(m, dyt.PointwiseNorm)]
            self._before = [(alpha, alpha.detach().clone()) for alpha in alphas]

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        # Adam's step is proportional to the learning rate and alpha has no weight decay, so scaling
        # the step is the same as another learning rate.
        with torch.no_grad():
            for alpha, before in self._before:
                alpha.copy_(before + self.alpha_rate * (alpha - before))
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            raise Diverged(trainer.global_step, loss)
        self.losses.append(loss)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if any(isinstance(m, dyt.PointwiseNorm) for m in module.modules()):
            self._probe = dyt.probe(module, every=1)
            self._seen = self._probe.__enter__()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self._probe is not None:
            self._probe.__exit__(None, None, None)
            shares = self._seen.shares().values()
            self.saturation = _rounded(sum(shares) / len(shares))


def _twentieths(values: Sequence[float]) -> list[Sequence[float]]:
    size = max(1, len(values) // 20)
    return [values[i : i + size] for i in range(0, len(values), size)]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _hush() -> None:
    """Silence Lightning's hints, which are for authors of training scripts."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
