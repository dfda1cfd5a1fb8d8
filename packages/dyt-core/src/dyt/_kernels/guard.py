"""What a kernel may be given: plain tensors, that fit each other, and as they were saved.

A kernel sees addresses and sizes. Whatever else a tensor is (a subclass, a wrapper of torch.func,
a view with a sign bit, zeros that are nowhere stored) is lost on the way, so every route into the
kernels asks here first. The rule names what is allowed, not what is not: a kind of tensor that
PyTorch adds takes the formula, and is right.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dyt._kernels.call import Call, Tensors
from dyt.functions import lookup

# Shape, strides, dtype, device; None where the layer has no such parameter
Facts = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device] | None

PLAIN_TYPES = (Tensor, torch.nn.Parameter)
NAMES = Call._fields[:5]
_keys_of = torch._C._dispatch_keys


def is_plain(tensors: Iterable[Tensor | None]) -> bool:
    """Whether each is of PyTorch's own class and has the dispatch keys of a dense tensor."""
    for t in tensors:
        if t is not None:
            if type(t) not in PLAIN_TYPES:
                return False
            keys = _keys_of(t).raw_repr()
            if keys not in _dense_keys and keys not in _learn(t.device.type):
                return False
    return True


_dense_keys: set[int] = set()  # of the devices that were met


@cache
def _learn(device: str) -> set[int]:
    """Add the keys of a dense tensor on a device, made in inference mode and out of it."""
    for inference in (False, True):
        with torch.inference_mode(inference):
            _dense_keys.add(_keys_of(torch.empty(0, device=device)).raw_repr())
    return _dense_keys


def is_traceable(t: Tensor) -> bool:
    """Whether compilers and dispatch modes take it for a plain tensor."""
    return type(t) in PLAIN_TYPES or type(t).__module__.startswith("torch._subclasses.")


def is_transformed() -> bool:
    """Whether the call must be made of PyTorch's own operators.

    A transform of torch.func and forward-mode differentiation have rules for each of those;
    torch.jit.trace would record the call without what it computes.
    """
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


def is_observed() -> bool:
    """Whether a dispatch mode must see an operator."""
    return torch._C._len_torch_dispatch_stack() > 0


def check_call(call: Call) -> None:
    """Refuse arguments that do not fit each other.

    Raises:
        ValueError: unknown function; integer x; a parameter whose shape or device does not fit x.
        TypeError: what must be a tensor is none.
    """
    lookup(call.function)
    x, channels_last = call.x, call.channels_last
    for name, t in zip(NAMES, call.tensors(), strict=True):
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(t).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    if not channels_last and x.dim() < 2:
        raise ValueError(f"x must be (N, C, ...) when channels_last=False, got {x.dim()}-D")
    for name, scalar in (("alpha", call.alpha), ("shift", call.shift)):
        if scalar is not None and scalar.numel() != 1:
            raise ValueError(f"{name} must have one element, got shape {tuple(scalar.shape)}")
    for name, affine in (("weight", call.weight), ("bias", call.bias)):
        if affine is None or x.is_nested:  # which has no shape
            continue
        expected = x.shape[x.dim() - affine.dim() :] if channels_last else x.shape[1:2]
        if affine.shape != expected:
            raise ValueError(
                f"{name} must have shape {tuple(expected)} for x of shape {tuple(x.shape)} with "
                f"channels_last={channels_last}, got {tuple(affine.shape)}"
            )
    for name, parameter in zip(NAMES[1:], call.tensors()[1:], strict=True):
        if parameter is not None and parameter.device != x.device:
            raise ValueError(f"{name} must be on {x.device} as x is, got {parameter.device}")


def facts(t: Tensor | None) -> Facts:
    """What kernels are prepared for, of one tensor."""
    return None if t is None else (t.shape, t.stride(), t.dtype, t.device)


def check_saved(saved: tuple[Facts, ...], tensors: Tensors, dy: Tensor) -> None:
    """Refuse gradients from tensors that came back from autograd as others than were saved.

    Strides may differ: the values are the same.

    Raises:
        RuntimeError: a dtype, shape or device is another; names the tensor and both.
    """
    for name, was, t in zip(NAMES, saved, tensors, strict=True):
        if was is not None:
            assert t is not None
            _check(name, was, t)
    assert saved[0] is not None
    _check("the gradient of y", saved[0], dy)


def _check(name: str, was: tuple[torch.Size, Any, torch.dtype, torch.device], t: Tensor) -> None:
    shape, _, dtype, device = was
    if t.shape != shape or t.dtype is not dtype or t.device != device:
        raise RuntimeError(
            f"{name} is {_told(t.shape, t.dtype, t.device)} in backward, expected "
            f"{_told(shape, dtype, device)} as in forward: a hook changed it, or Module.to()"
        )


def _told(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)} on {device}"
