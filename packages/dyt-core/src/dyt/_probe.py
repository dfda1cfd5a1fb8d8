"""Observe the norms of a running model, and the layers in their place, through hooks.

Records saturation, alpha against the spread of the input, the input-output curve of native norms,
and how much of the gradient each site passes back. Sums stay on the model's device until they are
read, so that a GPU never waits for them.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from dyt._audit.audit import audit
from dyt._sharded import whole
from dyt._surgery.placing import original
from dyt.functions import lookup
from dyt.layers import PointwiseNorm

# Past this share of its supremum a function is flat: at |z| > 1.83 the slope of tanh is below a
# tenth of that at 0.
SATURATED = 0.95

# One in so many forwards of a layer is measured. A prime, so that a layer which runs several times
# a step is measured at each of its places in turn.
EVERY = 31
SAMPLE = 4096  # elements measured of one input
POINTS = 1024  # of a native norm's curve


@dataclass(frozen=True)
class Curve:
    """Inputs of a native norm and its outputs, weight and bias included: fp32, (n,) each."""

    input: Tensor
    output: Tensor


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics of one layer or norm, over the forwards that were measured."""

    name: str
    kind: str  # the layer's function, or what the norm computes; see `dyt.NormSite`
    calls: int  # forwards within the probe
    measured: int  # of them
    values: int  # elements measured
    input_std: float  # about the mean of all
    saturation: float | None = None  # share of |f| > 0.95 sup |f|; None: no point-wise layer
    alpha: float | None = None  # its mean over the forwards: it may be training
    gradients: int = 0  # backward passes measured
    grad_in: float | None = None  # root mean square of the gradient's norm, at the input
    grad_out: float | None = None  # the same at the output
    curve: Curve | None = None  # of native norms, from the last forward measured

    @property
    def alpha_times_std(self) -> float | None:
        """1 where alpha is 1 / std of the input."""
        return None if self.alpha is None else self.alpha * self.input_std

    @property
    def grad_ratio(self) -> float | None:
        """Norm of the gradient at the input over that at the output; None if not seen, or 0 / 0."""
        return self.grad_in / self.grad_out if self.grad_in is not None and self.grad_out else None


class Probe:
    """What `probe` has recorded so far; may be read within and after."""

    def __init__(self, observers: Mapping[str, "_Observer"]) -> None:
        self._observers = observers

    @property
    def sites(self) -> dict[str, SiteStatistics]:
        """Qualified name -> statistics, in the order in which the sites first ran.

        Sites without a measured forward are left out.
        """
        seen = [(o.since, name) for name, o in self._observers.items() if o.since is not None]
        return {name: self._observers[name].statistics(name) for _, name in sorted(seen)}

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the sites without a measured forward."""
        return tuple(name for name, o in self._observers.items() if o.since is None)

    def shares(self) -> dict[str, float]:
        """Qualified name -> share of saturated inputs, for the point-wise layers."""
        sites = self.sites.items()
        return {name: site.saturation for name, site in sites if site.saturation is not None}

    def table(self) -> str:
        """A line for each site: kind, saturation, alpha, std of the input, gradient."""
        sites = self.sites.values()
        width = max([24, *(len(site.name) for site in sites)])
        head = ("kind", "measured", "saturated", "alpha", "std", "alpha*std", "grad in/out")
        lines = [f"{'site':<{width}} " + " ".join(f"{title:>11}" for title in head)]
        for site in sites:
            share = "" if site.saturation is None else f"{site.saturation:.1%}"
            numbers = (site.alpha, site.input_std, site.alpha_times_std, site.grad_ratio)
            cells = (site.kind, f"{site.measured}/{site.calls}", share, *map(_short, numbers))
            lines.append(f"{site.name:<{width}} " + " ".join(f"{cell:>11}" for cell in cells))
        if self.unseen:
            lines.append(f"not seen: {', '.join(self.unseen)}")
        return "\n".join(lines)

    __str__ = table


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"


@contextmanager
def probe(model: nn.Module, every: int = EVERY, *, sample: int = SAMPLE) -> Iterator[Probe]:
    """Observe the norms of ``model``, and the layers in their place, in forwards within.

    Args:
        model: any module, in training or evaluation, with or without gradients, under autocast.
        every: measure the first forward of each site, and every ``every``-th after it. The
            default is for training; use 1 for a few batches.
        sample: the largest number of elements measured of one input, at equal distances. Nothing
            is drawn at random, and the model computes the same as without the probe.

    The gradient's norm is that of all elements, and is recorded if the backward pass runs within
    too. It is that of the site alone, without what a residual connection adds. Forwards repeated by
    activation checkpointing do not count as calls.

    Sites in code that ``torch.compile`` traces, or has compiled before, are not observed: it
    ignores hooks. Calls of ``F.layer_norm`` in a forward are no sites. No activation or graph is
    kept; hooks are removed on exit.

    Raises:
        ValueError: ``every`` or ``sample`` below 1.

    Source: arXiv 2503.10622, sections 3 (curves) and 6 (alpha against 1 / std).

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(dyt.DynamicTanh(8))
        >>> with dyt.probe(model, every=1) as seen:
        ...     _ = model(torch.randn(4, 8))
        >>> seen.sites["0"].alpha
        0.5
    """
    for name, value in (("every", every), ("sample", sample)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    clock = _Clock()
    observers = {
        name: _Observer(module, kind, every, sample, clock)
        for name, (module, kind) in _sites(model).items()
    }
    handles = []
    try:
        for observer in observers.values():
            module = observer.module
            handles.append(module.register_forward_pre_hook(observer.before, with_kwargs=True))
            handles.append(module.register_forward_hook(observer.after))
        yield Probe(observers)
    finally:
        clock.stopped = True  # from now on hooks on tensors of a remaining graph do nothing
        for handle in handles:
            handle.remove()


def pointwise_layers(model: nn.Module) -> dict[str, PointwiseNorm]:
    """Qualified name -> layer, each shared layer once."""
    return {name: m for name, m in model.named_modules() if isinstance(m, PointwiseNorm)}


def alphas(model: nn.Module) -> dict[str, float]:
    """Qualified name -> alpha of every point-wise layer, each shared layer once.

    Example:
        >>> import torch, dyt
        >>> dyt.alphas(torch.nn.Sequential(dyt.DynamicTanh(8)))
        {'0': 0.5}
    """
    return {name: whole(layer.alpha).item() for name, layer in pointwise_layers(model).items()}


def _sites(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Qualified name -> module and kind, of all that is observed."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for site in audit(model):
        if site.kind != "functional":  # its module does more than normalize
            found[site.name] = (site.module, site.kind)
    for name, module in model.named_modules():
        if isinstance(module, PointwiseNorm):
            found[name] = (module, module.function)
        elif name not in found and _replaces_a_norm(module):
            found[name] = (module, type(module).__name__)
    return found


def _replaces_a_norm(module: nn.Module) -> bool:
    """Whether `convert` put it in place of a norm: an identity, or a third-party class."""
    before = original(module)
    if before is None or any(isinstance(part, PointwiseNorm) for part in module.modules()):
        return False
    return any(site.module is before for site in audit(before))


class _Clock:
    """Counts the sites as they first run, and whether the probe has ended."""

    def __init__(self) -> None:
        self.ticks = 0
        self.stopped = False

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks


class _Observer:
    """The hooks of one site, and its sums."""

    def __init__(
        self, module: nn.Module, kind: str, every: int, sample: int, clock: _Clock
    ) -> None:
        self.module, self.kind, self.every, self.sample = module, kind, every, sample
        self.clock = clock
        self.since: int | None = None  # tick at which it was first measured
        self.calls = self.measured = self.values = 0
        self.measuring = False
        self.passage: _Passage | None = None
        # Of each value measured: whether saturated, mean, mean squared, variance, alpha.
        self.sums: Tensor | None = None
        self.squares: Tensor | None = None  # of the gradient's norm: at input, at output; passes
        self.curve: tuple[Tensor, Tensor] | None = None

    @cached_property
    def native(self) -> bool:
        return not isinstance(self.module, PointwiseNorm) and original(self.module) is None

    def before(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if torch.compiler.is_compiling():
            return None
        self.passage = None
        # Within a backward pass it is the rerun of a checkpointed forward, with the same values.
        repeated = torch._C._current_graph_task_id() != -1
        if not repeated:
            self.measuring = self.calls % self.every == 0
            self.calls += 1
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not self.measuring or not _measurable(x):
            return None
        self.passage = _Passage(self)
        if not repeated:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                self.measure(x.detach(), self.passage)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return None
        # An alias: a hook on x itself would see the gradient of everything that x is used for.
        alias = x.view_as(x)
        alias.register_hook(self.passage.at_input)  # type: ignore[no-untyped-call]
        if args:
            return (alias, *args[1:]), kwargs
        return args, {**kwargs, next(iter(kwargs)): alias}

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling() or self.passage is None:
            return
        passage, self.passage = self.passage, None
        y = output[0] if isinstance(output, tuple | list) and output else output
        if not _measurable(y):
            return
        if passage.points is not None and y.numel() == passage.numel:
            points = _pick(y.detach(), POINTS)
            self.curve = (passage.points, points)
        if y.requires_grad and torch.is_grad_enabled():
            y.register_hook(passage.at_output)  # type: ignore[no-untyped-call]

    def measure(self, x: Tensor, passage: "_Passage") -> None:
        self.since = self.since or self.clock.tick()
        values = _pick(x, self.sample)
        n = values.numel()
        variance, mean = torch.var_mean(values, correction=0)
        if isinstance(self.module, PointwiseNorm):
            layer, function = self.module, lookup(self.module.function)
            alpha = whole(layer.alpha).to(values).squeeze()
            z = alpha * values
            value = function.f(z if layer.shift is None else z + whole(layer.shift).to(values))
            saturated = (value.abs() > SATURATED * function.bound).sum().to(values)
        else:
            saturated = alpha = torch.zeros_like(mean)
        new = torch.stack((saturated, n * mean, n * mean.square(), n * variance, n * alpha))
        self.sums = new if self.sums is None else self.sums.to(new.device) + new
        self.measured += 1
        self.values += n
        if self.native:
            passage.points, passage.numel = _pick(x, POINTS), x.numel()

    def add_gradient(self, at_input: Tensor, at_output: Tensor) -> None:
        new = torch.stack((at_input.square(), at_output.square(), torch.ones_like(at_input)))
        # A loss scale that was too large makes one pass infinite, which says nothing of the site.
        new = torch.where(new.isfinite().all(), new, 0.0)
        self.squares = new if self.squares is None else self.squares.to(new.device) + new

    def statistics(self, name: str) -> SiteStatistics:
        assert self.sums is not None
        saturated, mean, square, variance, alpha = (v / self.values for v in self.sums.tolist())
        pointwise = isinstance(self.module, PointwiseNorm)
        squares_in, squares_out, passes = (
            (0.0, 0.0, 0.0) if self.squares is None else self.squares.tolist()
        )
        return SiteStatistics(
            name=name,
            kind=self.kind,
            calls=self.calls,
            measured=self.measured,
            values=self.values,
            input_std=_root(variance + square - mean * mean),
            saturation=saturated if pointwise else None,
            alpha=alpha if pointwise else None,
            gradients=int(passes),
            grad_in=_root(squares_in / passes) if passes else None,
            grad_out=_root(squares_out / passes) if passes else None,
            curve=None if self.curve is None else Curve(*(v.cpu() for v in self.curve)),
        )


class _Passage:
    """One measured forward: holds the norms of its gradients until both are known."""

    def __init__(self, observer: _Observer) -> None:
        self.observer = observer
        self.points: Tensor | None = None
        self.numel = 0
        self.norms: dict[str, Tensor] = {}

    def at_input(self, gradient: Tensor) -> None:
        self.note("input", gradient)

    def at_output(self, gradient: Tensor) -> None:
        self.note("output", gradient)

    def note(self, where: str, gradient: Tensor) -> None:
        if self.observer.clock.stopped:
            return
        with torch.no_grad():
            gradient = gradient.detach()
            dtype = torch.promote_types(gradient.dtype, torch.float32)
            norm = torch.linalg.vector_norm(gradient, dtype=dtype)
            self.norms[where] = norm.float()
            if len(self.norms) == 2:
                self.observer.add_gradient(self.norms.pop("input"), self.norms.pop("output"))


def _measurable(x: object) -> TypeGuard[Tensor]:
    return isinstance(x, Tensor) and x.is_floating_point() and not x.is_meta and x.numel() > 0


def _pick(x: Tensor, count: int) -> Tensor:
    """At most ``count`` elements of x at equal distances, in fp32, not sharing its memory.

    The distance has no factor in common with the size, or only some channels would be sampled.
    """
    size = x.numel()
    stride = -(-size // count)
    while math.gcd(stride, size) > 1:
        stride += 1
    # take reads any layout; flatten would copy all of a transposed input
    return torch.take(x, torch.arange(0, size, stride, device=x.device)).float()


def _root(value: float) -> float:
    return math.sqrt(value) if value > 0 else value * 0.0
