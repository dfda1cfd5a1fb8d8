"""What is measured of a run once, after training: by its domain, and by metrics packages add."""

import math
import traceback
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from dyt_bench.discovery.extensions import METRICS
from dyt_bench.plugin.domain import Domain
from dyt_bench.plugin.extensions import Trained
from dyt_bench.plugin.task import Task
from dyt_bench.records.record import Record


def evaluate(
    task: Task,
    domain: Domain,
    module: LightningModule,
    data: LightningDataModule,
    record: Record,
) -> tuple[dict[str, float], dict[str, str]]:
    """Name -> value, the reference score among them; name -> why there is none.

    ``module`` is in eval mode, ``data`` set up for fitting.
    """
    record.artifacts.mkdir(exist_ok=True)
    metrics = domain.evaluate(task, module, data, record.artifacts)
    once = {f"eval/{name}": float(value) for name, value in metrics.items()}
    reference = domain.reference_score(task, data)
    if reference is not None:
        once[f"reference/{domain.metric.name}"] = reference
    missing: dict[str, str] = {}
    for name, _ in task.metrics:
        key = f"eval/{name}"
        try:
            once[key] = _taken(name, key in once, Trained(task, module, data, record.rows()))
        # A number that is missing is no reason to lose what was trained for.
        except Exception as error:
            traceback.print_exc()
            missing[key] = f"{type(error).__name__}: {error}"
    return once, missing


def _taken(name: str, is_taken: bool, trained: Trained) -> float:
    if is_taken:
        raise ValueError(f"the domain has a metric {name!r} of its own")
    taken: Any = METRICS.load(name).compute(trained)
    value = float(taken.detach() if isinstance(taken, Tensor) else taken)
    if not math.isfinite(value):
        raise ValueError(f"it is {value}")
    return value
