"""Build a run's data and module, with the variant's layers where the norms stood."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, Literal

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch import seed_everything as seed_all
from torch import nn

import dyt
from dyt_bench.plugin.batches import as_bytes
from dyt_bench.plugin.data import take_split
from dyt_bench.plugin.parts import Parts


def build(
    parts: Parts, *, empty: bool = False
) -> tuple[LightningDataModule, LightningModule, list[str]]:
    """Data, module with the variant's layers in place, and the names of the norms' sites.

    Seeding before the module is built, and swapping afterwards, gives every variant of a task
    the same other weights, except where a recipe starts them differently.

    Args:
        empty: whether weights are left without content, on the meta device.
    """
    task, domain = parts.task, parts.domain
    seed_all(task.seed, workers=True, verbose=False)
    data = domain.build_data(task)
    take_split(data, task.split)
    seed_all(task.seed, verbose=False)
    with without_weights() if empty else nullcontext():
        module = domain.build_module(task, data)
    exclude = domain.models[task.model].exclude
    sites = dyt.select(module, exclude=exclude)
    if parts.layer is not None:
        dyt.convert(
            module,
            parts.layer,
            exclude=exclude,
            alpha_init_value=parts.alpha_init_value,
            recipe=parts.recipe,
        )
        if is_calibrated(parts):
            trained = domain.models[task.model].checkpoint is not None
            fitted = trained or parts.recipe.gradual is not None
            _calibrate(module, data, "norm" if fitted else "start")
    return data, module, [site.name for site in sites]


def is_calibrated(parts: Parts) -> bool:
    """Whether the layers are fitted to the weights and to data."""
    return bool(getattr(parts.recipe, "calibrated", False))


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules that are made in it have parameters without content, and whole buffers."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:  # one that is shared is emptied once
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _calibrate(
    module: LightningModule, data: LightningDataModule, goal: Literal["start", "norm"]
) -> None:
    """Start the layers by the first training batches, which training then sees as well.

    A model without training takes one batch; the layers of a trained one are fitted to its norms
    on so many as `dyt.calibrate` needs.
    """
    data.prepare_data()
    data.setup("fit")
    batches = islice(data.train_dataloader(), 1 if goal == "start" else None)

    def step(model: nn.Module, batch: Any) -> object:
        return module.training_step(batch, 0)

    with_logging_off(module)
    try:
        dyt.calibrate(module, batches, goal=goal, run=step)
    finally:
        del module.log, module.log_dict


def with_logging_off(module: LightningModule) -> None:
    """Make the module's ``log`` do nothing, so that its steps run without a Trainer."""
    module.log = _discard  # type: ignore[method-assign]
    module.log_dict = _discard  # type: ignore[method-assign]


def _discard(*_: object, **__: object) -> None:
    pass


def weights_digest(module: nn.Module, norms: list[str]) -> str:
    """A hash of all weights but those in the norms' places and a recipe's.

    It is equal for every variant of a task, but for a recipe that starts other weights differently.
    """
    places = tuple(f"{norm}." for norm in norms)
    added = {f"{name}.{key}" for name, m in module.named_modules() for key in _added(m)}
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        if name not in added and not name.startswith(places):
            total.update(name.encode())
            total.update(as_bytes(value))
    return total.hexdigest()[:12]


def _added(module: nn.Module) -> set[str]:
    """Values of a module that a recipe put in, which the module in its place before had not."""
    if type(module) not in dyt.parts.PARTS.values():
        return set()
    own = {
        *dict(module.named_parameters(recurse=False)),
        *dict(module.named_buffers(recurse=False)),
    }
    return own - {*getattr(type(module), "SHARES", ())}
