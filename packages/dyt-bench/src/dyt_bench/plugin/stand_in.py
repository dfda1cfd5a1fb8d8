"""What a forecast takes in place of a data set that is not there.

A package offers it for its domain by an entry point of the group ``dyt_bench.stand_ins``, named as
the domain: a function of a task and its training preset. Nothing of it reaches a run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.task import Task

__all__ = ["MakeStandIn", "StandIn"]


@dataclass(frozen=True)
class StandIn:
    """Shapes in place of data."""

    data: Any  # with the attributes that the domain's `build_module` reads
    batch: Any  # as the training loader gives it; its values do not matter


MakeStandIn = Callable[[Task, TrainingPreset], StandIn]
