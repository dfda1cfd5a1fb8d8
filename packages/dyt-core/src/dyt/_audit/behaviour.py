"""Observe what a module computes by running a small copy: is it a norm, of which kind and axis?

Libraries have hundreds of norm classes without a common base class, and names mislead: a
"LayerNorm" may be an RMS norm (T5), a weight may be stored as its difference from one (Gemma), an
"RMSNorm" may return the statistic alone. So a candidate is copied to the CPU with random
parameters, run, and compared with each formula in turn. The module itself is never run or changed,
and takes no memory but the copy's.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dyt._audit.sites import Kind

# Relative error of the whole output. A norm with a large eps, or with a step in half precision,
# stays within it; LayerNorm and RMSNorm differ by a third on the inputs below.
TOLERANCE = 0.05
ANY_WIDTH = 12  # for a norm that has no width


@dataclass(frozen=True)
class Behaviour:
    """What a norm computes; the fields are `dyt.NormSite`'s."""

    kind: Kind
    normalized_shape: tuple[int, ...] = ()
    channels_last: bool = True
    axes: tuple[int, ...] = (-1,)
    reason: str | None = None
    weight_name: str | None = None
    bias_name: str | None = None
    weight_offset: float = 0.0
    activation: tuple[str, ...] = ()


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
    if not inspect.isfunction(type(module).forward):
        return False  # a class without a forward of its own only holds others
    parameters = [p for p in module._parameters.values() if p is not None]
    if _children(module) and not parameters and not hasattr(module, "normalized_shape"):
        return False  # a container: its norms are its children
    if _has_layers(module):
        return _called_norm(module)
    declared = tuple(getattr(module, "normalized_shape", None) or ())
    if any(_vector_shape(p) is None and tuple(p.shape) != declared for p in parameters):
        return _called_norm(module) and all(p.dim() <= 2 for p in parameters)
    return len(parameters) in (1, 2) or _called_norm(module) or hasattr(module, "eps")


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module._modules.values() if child is not None]


def _has_layers(module: nn.Module) -> bool:
    """Whether children mix features; an activation does not."""
    return any(p.dim() > 1 for child in _children(module) for p in child.parameters())


_MAY_DERIVE_FROM = (nn.LayerNorm, nn.RMSNorm, nn.Module)


def _vector_shape(parameter: Tensor) -> tuple[int] | None:
    """(C,) for a parameter of shape (C,), (C, 1, 1), (1, C) or the like."""
    return (parameter.numel(),) if parameter.numel() == max(parameter.shape, default=1) else None


def _observe(module: nn.Module) -> Behaviour | None:
    named = _called_norm(module) or isinstance(module, nn.LayerNorm | nn.RMSNorm)
    if _has_layers(module):
        return Behaviour("other", reason=_MORE)
    needed, optional = _inputs(module)
    if len(needed) != 1:
        if not named:
            return None
        took = ", ".join(needed) or "nothing"
        return Behaviour("gated", reason=f"its forward takes {took}, not one input")
    copy = _Copy(module)
    found = copy.behaviour()
    second = next((name for name in optional if copy.heeds(name)), None)
    if second is not None and (found is not None or named):
        return Behaviour("gated", reason=f"gated: its forward also takes {second}")
    if found is not None or not named:
        return found
    if copy.ran is not None:
        return Behaviour("other", reason=copy.what_else())
    if "group" in type(module).__name__.lower():
        return _over_more(module, "group")
    return Behaviour("unknown", reason="what it computes could not be observed")


def _inputs(module: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the required arguments of forward, and of its optional ones."""
    arguments = list(inspect.signature(type(module).forward).parameters.values())[1:]
    arguments = [a for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    needed = [a.name for a in arguments if a.default is a.empty]
    return needed, [a.name for a in arguments if a.default is not a.empty]


class _Copy:
    """A copy of a module on the CPU, in float32, with random parameters."""

    def __init__(self, module: nn.Module) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.module = self._copy(module)
        self.parameters = {k: p for k, p in self.module._parameters.items() if p is not None}
        self.children = {k: m for k, m in self.module._modules.items() if m is not None}
        # Without parameters a buffer may still show the number of features.
        buffers = [b for b in module._buffers.values() if b is not None and b.numel() > 1]
        tensors: list[Tensor] = list(self.parameters.values())
        tensors = tensors or [b for b in buffers if b.dim() == 1]
        shapes = [_vector_shape(tensor) or tuple(tensor.shape) for tensor in tensors]
        shapes.append(tuple(getattr(module, "normalized_shape", None) or ()))
        self.shape = max(shapes, key=lambda shape: (len(shape), prod(shape)))  # () if it has none
        self.ran: tuple[Tensor, Tensor] | None = None  # the last input it took, and its output

    def behaviour(self) -> Behaviour | None:
        """The first formula, over all inputs it takes, whose result is that of the copy."""
        for x, last in self._inputs(self.shape or (ANY_WIDTH,)):
            # First without its children: an activation comes after the norm.
            y = self._run(x, dict.fromkeys(self.children, nn.Identity()))
            if y is None or y.shape != x.shape:
                continue
            for expected, behaviour in self._formulas(x, last):
                if (y - expected).norm() < TOLERANCE * expected.norm():
                    return self._with_activation(behaviour, x, y)
        return None

    def heeds(self, argument: str) -> bool:
        """Whether a tensor given as ``argument`` changes the result, or makes one possible."""
        inputs = self._inputs(self.shape or (ANY_WIDTH,))
        for x, y in [self.ran] if self.ran else [(x, None) for x, _ in inputs]:
            changed = self._run(x, self.children, **{argument: self._draw(x.shape, -1.0, 1.0)})
            if changed is not None and (y is None or not torch.allclose(changed, y)):
                return True
        return False

    def what_else(self) -> str:
        """What to report of a result that no formula gives."""
        assert self.ran is not None
        x, y = self.ran
        if y.shape != x.shape:
            return f"returns shape {tuple(y.shape)} for {tuple(x.shape)}: not the normalized input"
        if self.children:
            return _MORE
        return "computes neither a LayerNorm nor an RMSNorm of one axis"

    def _copy(self, module: nn.Module) -> nn.Module:
        copy: nn.Module = object.__new__(type(module))
        copy.__dict__.update(module.__dict__)
        copy.__dict__.pop("forward", None)  # an instance's own forward would run the original
        copy.__dict__["training"] = False
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            copy.__dict__[hooks] = {}
        copy._parameters = {
            name: None if p is None else nn.Parameter(self._draw(p.shape, 0.5, 1.5))
            for name, p in module._parameters.items()
        }
        copy._buffers = {
            name: b if b is None else torch.ones(b.shape) if b.is_meta else b.detach().cpu().clone()
            for name, b in module._buffers.items()
        }
        copy._modules = {
            k: None if m is None else self._copy(m) for k, m in module._modules.items()
        }
        return copy

    def _draw(self, shape: Sequence[int], low: float, high: float) -> Tensor:
        return torch.rand(tuple(shape), generator=self.random) * (high - low) + low

    def _run(self, x: Tensor, children: Mapping[str, nn.Module], **more: Tensor) -> Tensor | None:
        """The result for ``x``, or None if the module does not take such an input."""
        self.module._modules = dict(children)
        try:
            y = self.module.forward(x.clone(), **more)
        except Exception:  # third-party code with an input that it may not be made for
            return None
        if not isinstance(y, Tensor) or not y.is_floating_point():
            return None
        if not more:
            self.ran = x, y.float()
        return y.float()

    def _inputs(self, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, bool]]:
        """Inputs with features of ``shape``, each with whether these are the last axes.

        All axes have different sizes, so that they cannot be confused.
        """
        a, b, c, d = [n for n in (2, 3, 5, 7, 11) if n not in shape][:4]
        sizes = [((a, b, *shape), True), ((a, b, c, *shape), True), ((a, *shape), True)]
        if len(shape) == 1:
            sizes[2:2] = [((a, *shape, *rest), False) for rest in ((b, c), (b,), (b, c, d))]
        for size, last in sizes:
            # Off centre, so that removing the mean matters; and each position with its own scale,
            # so that a mean that includes positions (a group norm's) gives another result.
            x = 3 * torch.randn(size, generator=self.random) + 2
            innermost = len(size) - 1 if last else 1
            scales = [1 if axis == innermost else n for axis, n in enumerate(size)]
            yield x * self._draw(scales, 0.0, 3.0).exp(), last

    def _formulas(self, x: Tensor, last: bool) -> Iterator[tuple[Tensor, Behaviour]]:
        """The result of each formula for ``x``, with the behaviour that it stands for."""
        shape = self.shape or x.shape[-1:]
        if not last:
            over: list[tuple[int, ...]] = [(1,)]
        else:
            # All axes that the parameters cover; or the innermost, each head with its own weight.
            over = [tuple(range(-len(shape), 0))] + ([(-1,)] if len(shape) > 1 else [])
        for axes in over:
            for kind, normalize in _NORMALIZE:
                normalized = normalize(x, axes)
                for weight, bias in _affine(list(self.parameters)):
                    for offset in (0.0,) if weight is None else (0.0, 1.0):
                        y = normalized
                        if weight is not None:
                            y = y * (self._spread(weight, x, last) + offset)
                        if bias is not None:
                            y = y + self._spread(bias, x, last)
                        reason = _UNIT_LENGTH if kind == "other" else None
                        yield (
                            y,
                            Behaviour(kind, self.shape, last, axes, reason, weight, bias, offset),
                        )

    def _spread(self, name: str, x: Tensor, last: bool) -> Tensor:
        """The parameter in a shape that multiplies ``x``."""
        parameter = self.parameters[name].detach()
        if parameter.numel() != prod(self.shape):
            return torch.full((), torch.nan)  # fits no formula
        return parameter.reshape(self.shape if last else (-1, *[1] * (x.dim() - 2)))

    def _with_activation(self, found: Behaviour, x: Tensor, y: Tensor) -> Behaviour:
        """The behaviour including its children, if they are applied to the result in order."""
        if not self.children:
            return found
        for child in self.children.values():
            y = child(y)
        whole = self._run(x, self.children)
        if whole is None or not torch.allclose(whole, y, rtol=1e-3, atol=1e-4):
            return Behaviour("other", reason=_MORE)
        return replace(found, activation=tuple(self.children))


_MORE = "does more than normalize: it has submodules"
_UNIT_LENGTH = "scales its input to unit length, not to unit variance"


def _rms(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x / x.square().mean(axes, keepdim=True).sqrt()


def _std(x: Tensor, axes: tuple[int, ...], unbiased: bool = False) -> Tensor:
    return x / x.var(axes, keepdim=True, unbiased=unbiased).sqrt()


def _centred(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x - x.mean(axes, keepdim=True)


_NORMALIZE: tuple[tuple[Kind, Callable[[Tensor, tuple[int, ...]], Tensor]], ...] = (
    ("layer", lambda x, axes: _std(_centred(x, axes), axes)),
    ("rms", _rms),
    ("std", _std),
    ("layer", lambda x, axes: _std(_centred(x, axes), axes, unbiased=True)),
    ("other", lambda x, axes: x / x.square().sum(axes, keepdim=True).sqrt()),
)


def _affine(names: list[str]) -> Iterator[tuple[str | None, str | None]]:
    """(weight, bias): which parameter is the factor and which is the term."""
    if not names:
        yield None, None
    elif len(names) == 1:
        yield names[0], None
        yield None, names[0]
    else:
        yield from permutations(names, 2)
