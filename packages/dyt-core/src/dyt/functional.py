"""The layers as functions: check the arguments, choose the backend, call the operator."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from dyt import _ops as ops
from dyt._kernels.cpu import launcher as native
from dyt.functions import lookup

# auto: Triton for tensors on a GPU, native for those on a CPU, where they can; else eager.
BACKENDS = ("auto", "eager", *ops.BACKENDS)
_BINDABLE = ("auto", "native")


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
        backend: "auto", "eager", "native" (CPU) or "triton" (GPU). None takes that of
            `use_backend`, or of the environment variable DYT_BACKEND, or "auto".

    Raises:
        ValueError: unknown function or backend; integer x; a parameter whose shape or device
            does not fit x; a backend, asked for by name, that cannot compute this.

    Source: arXiv 2503.10622, section 4; with shift, arXiv 2512.10938, section 4.
    """
    name = _backend.get() if backend is None else backend
    if ops.bound is not None and name in _BINDABLE and not torch.compiler.is_compiling():
        code = native.CODES.get(function, -1)
        found = ops.bound(x, alpha, shift, weight, bias, code, channels_last)
        if found is not None:
            return found
    if torch.compiler.is_compiling() or ops.observed(x) or ops.transformed():
        # What looks on sees operators; and sizes may be symbols, which no dictionary takes.
        chosen = _choose(x, alpha, shift, weight, bias, function, channels_last, name)
        if chosen == "eager":
            return ops.eager(x, alpha, shift, weight, bias, lookup(function), channels_last)
        y: Tensor = torch.ops.dyt.pointwise_norm(
            x, alpha, shift, weight, bias, function, channels_last, chosen
        )
        return y
    # All that a route depends on. Asking for these and finding it takes a third of the time of
    # working it out, which a small x would feel.
    key = (
        name, function, channels_last, x.shape, x.stride(), x.dtype, x.device,
        alpha.shape, alpha.dtype, alpha.device,
        None if shift is None else (shift.shape, shift.dtype, shift.device),
        None if weight is None else _facts(weight),
        None if bias is None else _facts(bias),
    )  # fmt: skip
    try:
        route = _routes[key]
    except KeyError:
        route = _route(x, alpha, shift, weight, bias, function, channels_last, name)
        if len(_routes) >= 4096:
            _routes.clear()
        _routes[key] = route
    if route is None:
        return ops.eager(x, alpha, shift, weight, bias, lookup(function), channels_last)
    return ops.fused(x, alpha, shift, weight, bias, route)


_routes: dict[tuple[object, ...], ops.Route | None] = {}  # None: by the eager formula


def _facts(affine: Tensor) -> tuple[object, ...]:
    return affine.shape, affine.dtype, affine.device, affine.is_contiguous()


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
    """Within, layers without a backend of their own use this one; for this thread or task.

    Raises:
        ValueError: unknown backend.
    """
    token = _backend.set(_known(name, "backend"))
    try:
        yield
    finally:
        _backend.reset(token)


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where} must be one of {', '.join(BACKENDS)}; got {name!r}")
    return name


def _from_environment(environment: Mapping[str, str]) -> str:
    return _known(environment.get("DYT_BACKEND") or "auto", "DYT_BACKEND")


_default = _from_environment(os.environ)
_backend: ContextVar[str] = ContextVar("dyt.backend", default=_default)


def _route(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
    backend: str,
) -> ops.Route | None:
    """The kernels of the backend that computes this, made ready for it; None for the formula.

    Raises:
        ValueError: as `pointwise_norm`.
    """
    call = x, alpha, shift, weight, bias, function, channels_last
    chosen = _choose(*call, backend)
    if chosen == "eager":
        return None
    return ops.Route(function, channels_last, ops.kernels(chosen).prepare(*call))


def _choose(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
    backend: str,
) -> str:
    """The backend that computes this: one asked for by name, or the best that can.

    Raises:
        ValueError: as `pointwise_norm`.
    """
    lookup(function)
    _check(x, alpha, shift, weight, bias, channels_last)
    candidate = _fused_for(x) if _known(backend, "backend") == "auto" else backend
    if candidate == "eager":
        return candidate
    reason = _unsupported(candidate, x, alpha, shift, weight, bias, function, channels_last)
    if reason is None:
        return candidate
    if backend != "auto":
        raise ValueError(f"backend {backend!r} cannot compute this: {reason}")
    if candidate == "native" and native.missing() and not torch.compiler.is_compiling():
        _say_once(reason)
    return "eager"


def _fused_for(x: Tensor) -> str:
    if x.is_cpu:
        return "native"
    return "triton" if x.is_cuda else "eager"


def _unsupported(
    candidate: str,
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> str | None:
    if ops.transformed():
        return "torch.func and torch.jit.trace take the eager formula only"
    try:
        kernels = ops.kernels(candidate)
    except ImportError as error:
        return f"it needs what is not installed ({error})"
    return kernels.unsupported(x, alpha, shift, weight, bias, function, channels_last)


_said: set[str] = set()


def _say_once(reason: str) -> None:
    if reason not in _said:
        _said.add(reason)
        warnings.warn(f"dyt computes by the eager formula, slowly: {reason}", stacklevel=5)


def _check(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    channels_last: bool,
) -> None:
    """Raise ValueError naming the argument that does not fit."""
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    if not channels_last and x.dim() < 2:
        raise ValueError(f"x must be (N, C, ...) when channels_last=False, got {x.dim()}-D")
    for name, scalar in (("alpha", alpha), ("shift", shift)):
        if scalar is not None and scalar.numel() != 1:
            raise ValueError(f"{name} must have one element, got shape {tuple(scalar.shape)}")
    for name, affine in (("weight", weight), ("bias", bias)):
        if affine is None:
            continue
        expected = x.shape[x.dim() - affine.dim() :] if channels_last else x.shape[1:2]
        if affine.shape != expected:
            raise ValueError(
                f"{name} must have shape {tuple(expected)} for x of shape {tuple(x.shape)} with "
                f"channels_last={channels_last}, got {tuple(affine.shape)}"
            )
    named = (("alpha", alpha), ("shift", shift), ("weight", weight), ("bias", bias))
    for name, parameter in named:
        if parameter is not None and parameter.device != x.device:
            raise ValueError(f"{name} must be on {x.device} as x is, got {parameter.device}")
