"""The layers as functions: check the arguments, choose the backend, call the kernels.

Backends: ``cpu`` (C++) and ``triton`` (GPU) are fused kernels, ``eager`` is the formula in PyTorch.
``auto`` takes the fused backend of the tensor's device where it can compute the call, and eager
elsewhere. Within torch.compile on a CPU it takes the formula, with rational functions for tanh and
erf: Inductor fuses it with the operations around it, and a kernel with none.
"""

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from dyt import _ops as ops
from dyt._kernels import guard
from dyt._kernels.call import Call
from dyt._kernels.cpu import launcher as cpu

__all__ = [
    "BACKENDS",
    "backends",
    "dynamic_erf",
    "dynamic_tanh",
    "instruction_set",
    "pointwise_norm",
    "use_backend",
]

BACKENDS = ("auto", "eager", *ops.BACKENDS)
_BINDABLE = ("auto", "cpu")


def pointwise_norm(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    function: str = "tanh",
    channels_last: bool = True,
    backend: str | None = None,
) -> Tensor:
    """``y = weight * f(alpha * x + shift) + bias`` with f from `dyt.FAMILY`.

    Shapes:
        x: ``(..., *normalized_shape)``, or ``(N, C, ...)`` when ``channels_last`` is False.
        alpha, shift: ``[1]``, one scalar for the layer.
        weight, bias: ``normalized_shape``, or ``(C,)``; None leaves the factor or term out.
        y: as x.

    Dtypes:
        x floating point, y as x. Fused kernels compute in fp32 and round once; the eager
        formula runs in the type that x and the parameters promote to.

    Args:
        function: name of f.
        channels_last: whether weight and bias belong to the last axes of x, or to axis 1.
        backend: "auto", "eager", "cpu" or "triton". None takes that of `use_backend`, or of the
            environment variable DYT_BACKEND, or "auto".

    Raises:
        ValueError: unknown function or backend; integer x; a parameter whose shape or device
            does not fit x; a backend given by name that cannot compute this call.
        TypeError: what must be a tensor is none.
        RuntimeError: in backward, a tensor that came back from autograd with another dtype, shape
            or device than was saved.

    Source: arXiv 2503.10622, section 4; with shift, arXiv 2512.10938, section 4.

    Example:
        >>> import torch, dyt
        >>> x, alpha = torch.randn(2, 8), torch.tensor([0.5])
        >>> dyt.pointwise_norm(x, alpha, weight=torch.ones(8), function="arctan").shape
        torch.Size([2, 8])
    """
    name = _active.backend if backend is None else backend
    if torch.compiler.is_compiling():
        return _by_operators(Call(x, alpha, shift, weight, bias, function, channels_last), name)
    if ops.bound is not None and name in _BINDABLE:
        code = cpu.CODES.get(function, -1)
        found = ops.bound(x, alpha, shift, weight, bias, code, channels_last)
        if found is not None:
            return found
    tensors = (x, alpha, shift, weight, bias)
    if guard.is_observed() or guard.is_transformed() or not guard.is_plain(tensors):
        return _by_operators(Call(*tensors, function, channels_last), name)
    # All that a route depends on. Finding a route by them takes a third of the time of making one,
    # which matters to a small x.
    key = (name, function, channels_last, *map(guard.facts, tensors))
    try:
        route = _routes[key]
    except KeyError:
        route = _route(Call(*tensors, function, channels_last), name)
        if len(_routes) >= 4096:
            _routes.clear()
        _routes[key] = route
    if route is None:
        return ops.eager(Call(*tensors, function, channels_last))
    return ops.fused(tensors, route)


_routes: dict[tuple[object, ...], ops.Route | None] = {}  # None: by the eager formula


def dynamic_tanh(
    x: Tensor,
    alpha: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    channels_last: bool = True,
    backend: str | None = None,
) -> Tensor:
    """``y = weight * tanh(alpha * x) + bias``; shapes, dtypes and errors as `pointwise_norm`.

    Source: arXiv 2503.10622, equation 1.

    Example:
        >>> import torch, dyt
        >>> dyt.dynamic_tanh(torch.zeros(2, 8), torch.tensor([0.5]), bias=torch.ones(8)).sum()
        tensor(16.)
    """
    return pointwise_norm(
        x, alpha, None, weight, bias, channels_last=channels_last, backend=backend
    )


def dynamic_erf(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    channels_last: bool = True,
    backend: str | None = None,
) -> Tensor:
    """``y = weight * erf(alpha * x + shift) + bias``; otherwise as `pointwise_norm`.

    Source: arXiv 2512.10938, section 4.
    """
    return pointwise_norm(
        x,
        alpha,
        shift,
        weight,
        bias,
        function="erf",
        channels_last=channels_last,
        backend=backend,
    )


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within, layers without a backend of their own use this one; for this thread.

    Raises:
        ValueError: unknown backend.

    Example:
        >>> import torch, dyt
        >>> with dyt.use_backend("eager"):
        ...     y = dyt.DynamicTanh(8)(torch.zeros(2, 8))
    """
    before, _active.backend = _active.backend, _known(name, "backend")
    try:
        yield
    finally:
        _active.backend = before


def backends() -> dict[str, str | None]:
    """Backend name -> None, or in one sentence why it is unavailable on this machine.

    Example:
        >>> import dyt
        >>> dyt.backends()["eager"] is None
        True
    """
    fused = {name: ops.kernels(name).missing() for name in ops.BACKENDS}
    return {"eager": None, **fused}


def instruction_set() -> str:
    """What the CPU kernels were chosen for: "avx2", "avx512" ...; empty where there are none.

    Results of two instruction sets may differ in the last bit.
    """
    return cpu.level()


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where} must be one of {', '.join(BACKENDS)}; got {name!r}")
    return name


def _from_environment(environment: Mapping[str, str]) -> str:
    return _known(environment.get("DYT_BACKEND") or "auto", "DYT_BACKEND")


_default = _from_environment(os.environ)


class _Active(threading.local):
    # An attribute of the object, not of its class: torch.compile guards on that alone.
    def __init__(self) -> None:
        self.backend = _default


_active = _Active()


def _route(call: Call, backend: str) -> ops.Route | None:
    """The kernels of the backend that computes ``call``, prepared for it; None: the formula.

    Raises:
        ValueError: as `pointwise_norm`.
    """
    chosen = _choose(call, backend)
    if chosen == "eager":
        return None
    if chosen == "cpu":
        ops.bind_where_compiled()
    facts = tuple(map(guard.facts, call.tensors()))
    prepared = ops.kernels(chosen).prepare(call)
    return ops.Route(call.function, call.channels_last, chosen, facts, prepared)


def _by_operators(call: Call, backend: str) -> Tensor:
    """y for whatever looks at operators, and for tensors with rules of their own for each."""
    chosen = _choose(call, backend, _why_formula(call))
    compiling = torch.compiler.is_compiling()
    if chosen == "eager" or (not compiling and not guard.is_observed()):
        return ops.eager(call)
    if compiling and backend == "auto" and call.x.is_cpu:  # measured by benchmarks/compiled
        return ops.compiled(call)
    y: Tensor = torch.ops.dyt.pointwise_norm(*call, chosen)
    return y


def _why_formula(call: Call) -> str | None:
    """Why only PyTorch's own operators can compute ``call``; None where dyt's can."""
    if torch.compiler._is_exporting_flag:  # PyTorch 2.9's is_exporting() is true in torch.compile
        return "an exported program runs where dyt need not be, and holds the eager formula"
    if guard.is_transformed():
        return "torch.func, forward-mode differentiation and torch.jit.trace need the eager formula"
    looking = torch.compiler.is_compiling() or guard.is_observed()
    for name, t in zip(guard.NAMES, call.tensors(), strict=True):
        if t is not None and not (guard.is_traceable(t) if looking else guard.is_plain((t,))):
            return (
                f"{name} is more than its memory, and needs the eager formula: {type(t).__name__}"
            )
    return None


def _choose(call: Call, backend: str, why_formula: str | None = None) -> str:
    """The backend that computes ``call``: the one given by name, or the best that can.

    Raises:
        ValueError: as `pointwise_norm`.
    """
    guard.check_call(call)
    candidate = ops.fused_for(call.x) if _known(backend, "backend") == "auto" else backend
    if candidate == "eager":
        return candidate
    reason = why_formula or ops.kernels(candidate).unsupported(call)
    if reason is None:
        return candidate
    if backend != "auto":
        raise ValueError(f"backend {backend!r} cannot compute this: {reason}")
    if candidate == "cpu" and cpu.missing() and not torch.compiler.is_compiling():
        _warn_once(reason)
    return "eager"


_warned: set[str] = set()


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(f"dyt uses the eager formula, which is slow: {reason}", stacklevel=5)
