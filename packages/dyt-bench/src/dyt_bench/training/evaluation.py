"""Metrics taken once, after training: the domain's own, and those that packages add."""

import math
import traceback
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from dyt_bench.errors import quoted
from dyt_bench.plugin.extensions import AddedMetric, Trained
from dyt_bench.plugin.parts import Parts
from dyt_bench.training.outcome import Recorder


def evaluate(
    parts: Parts,
    module: LightningModule,
    data: LightningDataModule,
    recorder: Recorder,
) -> tuple[dict[str, float], dict[str, str]]:
    """Metric -> value, the reference score included; metric -> why it has no value.

    ``module`` is in eval mode, and ``data`` is set up for fitting.
    """
    task, domain = parts.task, parts.domain
    recorder.artifacts.mkdir(exist_ok=True)
    metrics = domain.evaluate(task, module, data, recorder.artifacts)
    once = {f"eval/{name}": float(value) for name, value in metrics.items()}
    reference = domain.reference_score(task, data)
    if reference is not None:
        once[f"reference/{domain.metric.name}"] = reference
    missing: dict[str, str] = {}
    for name, metric in parts.metrics.items():
        key = f"eval/{name}"
        try:
            trained = Trained(task, module, data, recorder.rows())
            once[key] = _taken(name, metric, key in once, trained)
        # A metric that fails must not lose the trained run.
        except Exception as error:
            traceback.print_exc()
            missing[key] = f"{type(error).__name__}: {error}"
    return once, missing


def _taken(name: str, metric: AddedMetric, is_taken: bool, trained: Trained) -> float:
    if is_taken:
        raise ValueError(f"the domain has a metric {quoted(name)} of its own")
    taken: Any = metric.compute(trained)
    value = float(taken.detach() if isinstance(taken, Tensor) else taken)
    if not math.isfinite(value):
        raise ValueError(f"it is {value}")
    return value
