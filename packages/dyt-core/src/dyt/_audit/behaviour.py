"""Observe what a module computes by running a small copy: is it a norm, of which kind and axis?

Libraries have hundreds of norm classes without a common base class, and names mislead: a
"LayerNorm" may be an RMS norm (T5), a weight may be stored as its difference from one (Gemma), an
"RMSNorm" may return the statistic alone. So a candidate is copied to the CPU with random
parameters, run, and compared with each formula in turn. The module itself is never run or changed,
and takes no memory but the copy's.
"""

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dyt._audit.formulas import Behaviour
from dyt._audit.sites import Kind
from dyt._audit.trial import MORE, Trial, covered_shape, declared_shape


def observe(module: nn.Module, known: dict[object, Behaviour | None]) -> Behaviour | None:
    """What ``module`` computes, or None if it is no norm.

    ``known`` caches the results, so that modules of one class and configuration are run once; pass
    the same one for all modules of a model.
    """
    for base, kind in _OVER_MORE.items():
        if isinstance(module, base):
            return _over_more(module, kind)
    if "running_mean" in module._buffers or "running_mean" in module._parameters:
        return _over_more(module, "batch")
    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward) and not module._modules:
        return _native(module)
    if not _is_candidate(module):
        return None
    key = _key(module)
    if key not in known:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
            known[key] = _observe(module)
    return known[key]


def _key(module: nn.Module) -> object:
    """Equal for modules of one class and configuration, which behave the same."""
    plain = (int, float, str, bool, type(None), torch.Size, torch.dtype)

    def hashable(value: object) -> bool:
        if isinstance(value, tuple):
            return all(map(hashable, value))
        return isinstance(value, plain) or inspect.isroutine(value)

    return (
        type(module),
        tuple((k, None if p is None else tuple(p.shape)) for k, p in module._parameters.items()),
        tuple((k, None if b is None else tuple(b.shape)) for k, b in module._buffers.items()),
        tuple((k, None if m is None else _key(m)) for k, m in module._modules.items()),
        tuple((k, v) for k, v in module.__dict__.items() if k != "training" and hashable(v)),
    )


_OVER_MORE: Mapping[type[nn.Module], Kind] = {
    _BatchNorm: "batch",
    _InstanceNorm: "instance",
    nn.GroupNorm: "group",
}


def _over_more(module: nn.Module, kind: Kind) -> Behaviour:
    reason = f"{type(module).__name__} averages over more than the features"
    if kind == "batch":
        reason += ", and replacing it loses accuracy (arXiv 2503.10622)"
    return Behaviour(kind, reason=reason)


def _native(module: nn.Module) -> Behaviour:
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    shape = tuple(module.normalized_shape)
    names = [name for name in ("weight", "bias") if getattr(module, name, None) is not None]
    if any(tuple(getattr(module, name).shape) != shape for name in names):
        return Behaviour("unknown", reason=f"a parameter's shape is not normalized_shape {shape}")
    return Behaviour(
        "layer" if isinstance(module, nn.LayerNorm) else "rms",
        shape,
        axes=tuple(range(-len(shape), 0)),
        weight_name="weight" if "weight" in names else None,
        bias_name="bias" if "bias" in names else None,
    )


def _called_norm(module: nn.Module) -> bool:
    """Whether its class is called a norm; "normalize" and "normalized" mean other things."""
    name = type(module).__name__.lower()
    return "norm" in name.replace("normal", "")


def _is_candidate(module: nn.Module) -> bool:
    """Whether it is worth running: a leaf with the parameters or the name that a norm may have."""
    # PyTorch's other layers are no norms, nor are their subclasses: a NormedEmbedding embeds.
    derives = [c for c in type(module).__mro__ if c.__module__.startswith("torch.")]
    if any(c not in _MAY_DERIVE_FROM for c in derives):
        return False
    forward = type(module).forward
    if not inspect.isfunction(forward) or forward is nn.Module.forward:
        return False  # a class without a forward of its own only holds others
    parameters = [p for p in module._parameters.values() if p is not None]
    if _children(module) and not parameters and not hasattr(module, "normalized_shape"):
        return False  # a container: its norms are its children
    if _called_norm(module):
        return True
    if _has_layers(module) or not all(map(_could_be_affine, parameters)):
        return declared_shape(module) != () and not _has_layers(module)
    return len(parameters) in (1, 2) or hasattr(module, "eps")


def _could_be_affine(parameter: Tensor) -> bool:
    """Whether it covers one axis, or is repeated along one."""
    return len(covered_shape(parameter)) < 2 or 1 in parameter.shape


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module._modules.values() if child is not None]


def _has_layers(module: nn.Module) -> bool:
    """Whether children mix features; an activation does not."""
    return any(p.dim() > 1 for child in _children(module) for p in child.parameters())


_MAY_DERIVE_FROM = (nn.LayerNorm, nn.RMSNorm, nn.Module)


def _observe(module: nn.Module) -> Behaviour | None:
    named = _called_norm(module) or isinstance(module, nn.LayerNorm | nn.RMSNorm)
    if _has_layers(module):
        return Behaviour("other", reason=MORE)
    needed, optional = _inputs(module)
    if len(needed) != 1:
        took = ", ".join(needed) or "nothing"
        reason = f"its forward takes {took}, not one input"
        return Behaviour("gated", reason=reason) if named else None
    if any(p.is_complex() for p in module._parameters.values() if p is not None):
        return Behaviour("unknown", reason="its parameters are complex") if named else None
    trial = Trial(module)
    found = trial.behaviour()
    if found is None and not named and not trial.normalizes():
        return None
    for name, default in optional.items():
        effect = trial.effect(name, default)
        if effect is not None:
            return effect
    if found is not None:
        return found
    if trial.ran is not None:
        return Behaviour("other", reason=trial.what_else())
    if "group" in type(module).__name__.lower():
        return _over_more(module, "group")
    return Behaviour("unknown", reason=f"what it computes could not be observed: {trial.failed}")


def _inputs(module: nn.Module) -> tuple[list[str], dict[str, object]]:
    """Names of the inputs that forward needs, and of its options with their defaults."""
    _, *arguments = inspect.signature(type(module).forward).parameters.values()
    known = [a for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    first = known[0] if known else None
    if arguments and (first is None or first.default is not first.empty):
        # forward(*inputs), or forward(x=None)
        return [arguments[0].name], {a.name: a.default for a in known[1:]}
    needed = [a.name for a in known if a.default is a.empty]
    return needed, {a.name: a.default for a in known if a.default is not a.empty}
