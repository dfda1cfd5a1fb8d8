"""Examine one architecture: does it still run, forward and backward, when its norms are swapped?"""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

import dyt
from dyt_bench.conversion.specimen import Specimen, total


@dataclass
class Examination:
    """The outcome for one architecture; None for steps that were not reached."""

    name: str
    parameters: int = 0
    device: str = ""
    kinds: dict[str, int] = field(default_factory=dict)  # kind of site -> how many
    replaceable: int = 0
    left: list[str] = field(default_factory=list)  # "class: reason", batch and group norms apart
    as_built: str | None = None  # "ran", or why the model as built does not run
    converted: str | None = None  # "ran", or what `dyt.convert` raised
    trained: str | None = None  # "ran", or what forward or backward raised after the swap
    evaluated: str | None = None  # the same in eval mode, forward only
    reverted: str | None = None  # "ran", or what `dyt.revert` raised or left different
    audit_s: float = 0.0
    problem: str | None = None  # why the model could not be built, or its examination ended

    def plain(self) -> dict[str, Any]:
        return asdict(self)


RAN = "ran"


def examine(specimen: Specimen, *, run: bool = True) -> Examination:
    """Audit, run, convert, run, revert; afterwards the specimen's model is as it was before.

    A step that fails is recorded with its reason; ``run=False`` leaves out the forwards.
    """
    model = specimen.model
    found = Examination(specimen.name, device=specimen.device.type)
    found.parameters = sum(parameter.numel() for parameter in model.parameters())
    started = time.perf_counter()
    sites = dyt.audit(model)
    found.audit_s = time.perf_counter() - started
    found.kinds = dict(Counter(site.kind for site in sites))
    found.replaceable = sum(site.replaceable for site in sites)
    found.left = sorted(
        {
            f"{site.class_name}: {site.reason}"
            for site in sites
            if site.reason and site.kind not in ("batch", "group", "instance")
        }
    )
    if not found.replaceable:
        return found
    inputs = _fitting(specimen, found) if run else None
    keys = list(model.state_dict())
    found.converted = _attempt(lambda: dyt.convert(model))
    if found.converted != RAN:
        return found
    if inputs is not None:
        found.trained = _attempt(lambda: train_step(model, inputs))
        found.evaluated = _attempt(lambda: model.eval()(**inputs))
        model.train()
    found.reverted = _attempt(lambda: dyt.revert(model))
    if list(model.state_dict()) != keys:
        found.reverted = "the state_dict has other keys than before"
    return found


def train_step(model: Any, inputs: dict[str, Any]) -> None:
    """Forward and backward in training mode."""
    torch.manual_seed(0)
    model.train()
    total(model(**inputs)).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def _fitting(specimen: Specimen, found: Examination) -> dict[str, Any] | None:
    """The first inputs with which the model runs as built."""
    found.as_built = "no inputs known"
    for inputs in specimen.inputs:
        outcome = _attempt(partial(train_step, specimen.model, inputs))
        if outcome == RAN:
            found.as_built = RAN
            return inputs
        if found.as_built == "no inputs known":
            found.as_built = outcome
    return None


def _attempt(step: Any) -> str:
    try:
        step()
    except Exception as error:  # third-party code: whatever it raises is the finding
        return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    return RAN
