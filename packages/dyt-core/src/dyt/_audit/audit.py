"""Find the norms of any model: what each computes, and whether it can be replaced.

Three steps, none of which runs or changes the model: observe the behaviour of a small copy of each
module (`behaviour`), read the source of the forwards around it (`reading`), and read its name
(`roles`).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from torch import nn

from dyt._audit.behaviour import observe
from dyt._audit.formulas import Behaviour
from dyt._audit.reading import Reading, read_forward
from dyt._audit.roles import role_of
from dyt._audit.sites import OVER_FEATURES, Kind, NormSite
from dyt._audit.trial import declared_shape
from dyt._gradual import Gradual
from dyt.layers import PointwiseNorm

_EPS = ("eps", "variance_epsilon", "epsilon", "variance_eps", "norm_eps", "layer_norm_eps")

_registered: dict[type[nn.Module], Behaviour] = {}


def register_norm(
    cls: type[nn.Module],
    kind: Kind,
    *,
    channels_last: bool = True,
    weight_name: str | None = "weight",
    bias_name: str | None = None,
    weight_offset: float = 0.0,
    reason: str | None = None,
) -> None:
    """Declare what a norm class computes, for the few that `audit` cannot observe.

    A class whose forward runs on the CPU need not be declared. One that calls a GPU kernel, or
    takes more than its input, is declared so::

        import dyt
        from my_package import FusedRMSNorm
        dyt.register_norm(FusedRMSNorm, "rms")

    This holds for subclasses too. The features are those of the module's ``normalized_shape``, or
    without one those of the weight.

    Args:
        cls: the class.
        kind: "layer", "rms" or "std" (see `dyt.NormSite`), or any other kind with a reason.
        channels_last: whether features are the last axis; else they are axis 1.
        weight_name: the parameter that is the factor; there is none if it is None or a module
            lacks it.
        bias_name: the parameter that is the term, likewise.
        weight_offset: 1 if the weight is stored as its difference from one.
        reason: why it must not be replaced; None if it can be.

    Raises:
        ValueError: ``cls`` is no module class or declared already, the kind is unknown, or a
            kind that cannot be replaced comes without a reason.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ValueError(f"cls must be a class derived from torch.nn.Module, got {cls!r}")
    if cls in _registered:
        raise ValueError(f"{cls.__qualname__} is registered already, as {_registered[cls].kind!r}")
    if kind not in get_args(Kind):
        known = ", ".join(map(repr, get_args(Kind)))
        raise ValueError(f"kind must be one of {known}; got {kind!r}")
    if kind not in OVER_FEATURES and reason is None:
        raise ValueError(f"kind {kind!r} cannot be replaced: give the reason")
    axes = (-1,) if channels_last else (1,)
    _registered[cls] = Behaviour(
        kind, (), channels_last, axes, reason, weight_name, bias_name, weight_offset
    )


def audit(model: nn.Module) -> list[NormSite]:
    """Every norm of ``model`` in registration order, each once.

    A norm is recognized by what it computes, not by its name. A site that cannot be replaced has a
    ``reason``: it averages over more than the features (batch, group and instance norms; the
    authors found that replacing BatchNorm loses accuracy), it is gated or takes another optional
    argument, its parameters cover no width, it differs in training, its parent reads its weight or
    eps, checks its class or calls it with more than an input, or it is no module but a call of
    ``F.layer_norm`` or ``F.normalize`` in a forward, which no swap of modules reaches.

    The model is neither run nor changed; it may be on the meta device. Layers that `convert` put in
    are not norms and are not listed.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
        >>> [(site.name, site.kind, site.features) for site in dyt.audit(model)]
        [('1', 'layer', 8)]
    """
    return _Audit(model).sites()


class _Audit:
    """The audit of one model; each class and configuration is observed once."""

    def __init__(self, model: nn.Module) -> None:
        self.names: dict[nn.Module, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self.names.setdefault(module, []).append(name)
        self.modules = {name: module for module, where in self.names.items() for name in where}
        self.behaviours: dict[object, Behaviour | None] = {}
        self.readings: dict[type[nn.Module], Reading] = {}

    def sites(self) -> list[NormSite]:
        found: list[NormSite] = []
        within: set[nn.Module] = set()  # parts of norms found
        for module, names in self.names.items():
            if isinstance(module, Gradual):
                within.update(module.modules())
            if module in within or isinstance(module, PointwiseNorm):
                continue
            behaviour = self.behaviour(module)
            if behaviour is not None and not self.is_container(module, behaviour):
                found.append(self.norm(module, tuple(names), behaviour))
                within.update(module.modules())
            else:
                found += self.functional(module, tuple(names))
        return found

    def behaviour(self, module: nn.Module) -> Behaviour | None:
        for cls in type(module).__mro__:
            if cls in _registered:
                return _as_declared(module, _registered[cls])
        return observe(module, self.behaviours)

    def is_container(self, module: nn.Module, behaviour: Behaviour) -> bool:
        """Whether the module only contains a norm, and does more."""
        return behaviour.kind in ("other", "unknown") and any(
            self.behaviour(child) is not None for child in module.children()
        )

    def norm(self, module: nn.Module, names: tuple[str, ...], behaviour: Behaviour) -> NormSite:
        known = (getattr(module, name, None) for name in _EPS)
        eps = next((e for e in known if isinstance(e, float) and not math.isnan(e)), None)
        parent, _, _ = names[0].rpartition(".")
        return NormSite(
            names,
            module,
            behaviour.kind,
            behaviour.normalized_shape,
            behaviour.channels_last,
            behaviour.axes,
            behaviour.reason or self.read_by_parent(module, names),
            role_of(names[0], list(self.modules[parent]._modules) if names[0] else []),
            behaviour.weight_name,
            behaviour.bias_name,
            behaviour.weight_offset,
            eps,
            behaviour.activation,
        )

    def functional(self, module: nn.Module, names: tuple[str, ...]) -> Iterator[NormSite]:
        called = self.reading(module).functional
        if called:
            reason = f"{type(module).__name__} calls {' and '.join(called)} in its forward"
            yield NormSite(names, module, "functional", reason=reason, role=role_of(names[0]))

    def reading(self, module: nn.Module) -> Reading:
        cls = type(module)
        if cls not in self.readings:
            self.readings[cls] = read_forward(cls)
        return self.readings[cls]

    def read_by_parent(self, module: nn.Module, names: tuple[str, ...]) -> str | None:
        """Why a swap would be bypassed, or break the forward of a module above it."""
        for name in names:
            parts = name.split(".") if name else []
            for depth in range(len(parts)):
                above = self.modules[".".join(parts[:depth])]
                path = tuple(part for part in parts[depth:] if not part.isdigit())
                if not path:
                    continue
                reading = self.reading(above)
                read = next(reading.of_child(path, module), None)
                if read is not None:
                    return f"{type(above).__name__} reads its {read}"
                given = reading.more_inputs(path, module)
                if given is not None:
                    return f"{type(above).__name__} calls it with {given}; a layer takes x"
                if reading.checked(path, module):
                    return f"{type(above).__name__} checks whether it is a {type(module).__name__}"
        return None


def _as_declared(module: nn.Module, declared: Behaviour) -> Behaviour:
    """The declaration, completed from the module."""

    def present(name: str | None) -> str | None:
        return name if name is not None and getattr(module, name, None) is not None else None

    weight_name, bias_name = present(declared.weight_name), present(declared.bias_name)
    shape = declared_shape(module)
    if not shape and (weight_name or bias_name):
        shape = tuple(getattr(module, weight_name or bias_name or "").shape)
    return replace(declared, normalized_shape=shape, weight_name=weight_name, bias_name=bias_name)
