"""A run's names -> the objects they stand for, imported. Called where the run is trained."""

from dataclasses import replace

from dyt_bench.discovery.datasets import as_read
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import METRICS, RECIPES, VARIANTS
from dyt_bench.plugin.domain import Domain
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import NATIVE, Run

__all__ = ["resolve"]

_LAYER = {NATIVE: "dyt"}


def resolve(run: Run, domain: Domain | None = None) -> Parts:
    """What ``run`` is made of.

    Args:
        domain: by default the installed one of the task's name.

    Raises:
        UserError: a name that nothing installed has, or what has it is broken.
    """
    task, variant = run.task, run.variant
    if variant.learning_rate is not None:
        task = replace(task, learning_rate=variant.learning_rate)
    domain = domain or discover().domain(task.domain)
    return Parts(
        domain=domain,
        task=as_read(task, domain),
        # A control's recipe takes no norm: which layer it would put in says nothing.
        layer=None if variant.is_native else VARIANTS.load(_LAYER.get(variant.name, variant.name)),
        alpha_init_value=variant.alpha_init_value,
        recipe=RECIPES.load(variant.recipe) if variant.recipe else None,
        metrics={name: METRICS.load(name) for name, _ in task.metrics},
    )
