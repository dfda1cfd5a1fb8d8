"""What the names in a run stand for: the objects that training is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dyt_bench.plugin.domain import Domain
from dyt_bench.plugin.extensions import AddedMetric, LayerClass
from dyt_bench.plugin.task import Task

__all__ = ["Parts"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A run with its names resolved, so that training looks nothing up."""

    domain: Domain
    task: Task  # an added data set is replaced by the domain's own of that layout, at its path
    layer: LayerClass | None = None  # what stands in the norms' place; None: the native norms
    alpha_init_value: float | None = None  # None: the layer's or the recipe's own
    recipe: Any = None  # a `dyt.Recipe`, or what `dyt.convert` takes for one
    metrics: Mapping[str, AddedMetric] = field(default_factory=dict)  # taken at the end
