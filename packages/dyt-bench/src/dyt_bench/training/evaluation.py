"""Metrics taken once, after training: the domain's, those of packages, and reference scores."""

import math
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from dyt_bench.errors import quoted
from dyt_bench.plugin.extensions import AddedMetric, Trained
from dyt_bench.plugin.parts import Parts
from dyt_bench.training.outcome import Recorder
from dyt_bench.training.references import references

# Role of a `Reference` -> its name in a run's summary, before the metric's, and in its facts.
ROLES = {"blind": "blind", "modest": "reference", "strong": "strong"}


class Evaluation(NamedTuple):
    """What is taken once, at the end of a run."""

    values: dict[str, float]  # metric -> value, the reference scores included
    missing: dict[str, str]  # metric -> why it has no value
    methods: dict[str, str]  # "blind", "reference", "strong" -> the method's name


def evaluate(
    parts: Parts,
    module: LightningModule,
    data: LightningDataModule,
    recorder: Recorder,
    device: torch.device,
) -> Evaluation:
    """Metrics of the trained ``module`` on ``device``; ``data`` is set up for fitting."""
    task, domain = parts.task, parts.domain
    recorder.artifacts.mkdir(exist_ok=True)
    metrics: Mapping[str, float] = {}
    missing: dict[str, str] = {}
    try:
        module.to(device).eval()  # fitting ends on the CPU
        metrics = domain.evaluate(task, module, data, recorder.artifacts)
    except torch.OutOfMemoryError as error:  # of a model that trains on several devices alone
        missing["eval/of the domain"] = f"{type(error).__name__}: {error}"
    once = {f"eval/{name}": float(value) for name, value in metrics.items()}
    methods: dict[str, str] = {}
    for reference in references(domain, task, data):
        role = ROLES[reference.role]
        once[f"{role}/{domain.metric.name}"] = reference.score
        methods[role] = reference.name
    for name, metric in parts.metrics.items():
        key = f"eval/{name}"
        try:
            trained = Trained(task, module, data, recorder.rows())
            once[key] = _taken(name, metric, key in once, trained)
        # A metric that fails must not lose the trained run.
        except Exception as error:
            traceback.print_exc()
            missing[key] = f"{type(error).__name__}: {error}"
    return Evaluation(once, missing, methods)


def _taken(name: str, metric: AddedMetric, is_taken: bool, trained: Trained) -> float:
    if is_taken:
        raise ValueError(f"the domain has a metric {quoted(name)} of its own")
    taken: Any = metric.compute(trained)
    value = float(taken.detach() if isinstance(taken, Tensor) else taken)
    if not math.isfinite(value):
        raise ValueError(f"it is {value}")
    return value
