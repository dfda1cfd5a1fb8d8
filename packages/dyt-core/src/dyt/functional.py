"""The layers as functions: check the arguments, then compute.

There is one computation for now, plain PyTorch, in `_eager`. A fused backend is chosen here
and nowhere else.
"""

from torch import Tensor

from dyt.family import PointwiseFunction, lookup


def pointwise_norm(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    function: str = "tanh",
    channels_last: bool = True,
) -> Tensor:
    """``y = weight * f(alpha * x + shift) + bias`` with f from `dyt.FAMILY`.

    Shapes:
        x: ``(..., *normalized_shape)``, or ``(N, C, ...)`` when ``channels_last`` is False.
        alpha, shift: ``[1]``, one scalar for the layer.
        weight, bias: ``normalized_shape``, or ``(C,)``; None leaves the factor or term out.
        y: as x.

    Dtypes:
        x floating point. The formula runs in the type x and the parameters promote to, and y
        has x's dtype: fp32 parameters on bf16 activations compute in fp32, round once.

    Raises:
        ValueError: unknown function, integer x, or a parameter whose shape does not fit x.

    Source: arXiv 2503.10622, section 4; with shift, arXiv 2512.10938, section 4.
    """
    entry = lookup(function)
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    for name, scalar in (("alpha", alpha), ("shift", shift)):
        if scalar is not None and scalar.numel() != 1:
            raise ValueError(f"{name} must have one element, got shape {tuple(scalar.shape)}")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None:
            _check_shape(name, parameter, x, channels_last)
    return _eager(x, alpha, shift, weight, bias, entry, channels_last)


def dynamic_tanh(
    x: Tensor,
    alpha: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    channels_last: bool = True,
) -> Tensor:
    """``y = weight * tanh(alpha * x) + bias``; shapes, dtypes and errors as `pointwise_norm`.

    Source: arXiv 2503.10622, equation 1.
    """
    return pointwise_norm(x, alpha, None, weight, bias, channels_last=channels_last)


def dynamic_erf(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    channels_last: bool = True,
) -> Tensor:
    """``y = weight * erf(alpha * x + shift) + bias``; otherwise as `pointwise_norm`.

    Source: arXiv 2512.10938, section 4.
    """
    return pointwise_norm(
        x, alpha, shift, weight, bias, function="erf", channels_last=channels_last
    )


def _check_shape(name: str, parameter: Tensor, x: Tensor, channels_last: bool) -> None:
    if channels_last:
        expected = tuple(x.shape[x.dim() - parameter.dim() :])
    else:
        if x.dim() < 2:
            raise ValueError(f"x must be (N, C, ...) when channels_last=False, got {x.dim()}-D")
        expected = (x.shape[1],)
    if tuple(parameter.shape) != expected:
        raise ValueError(
            f"{name} must have shape {expected} for x of shape {tuple(x.shape)} with "
            f"channels_last={channels_last}, got {tuple(parameter.shape)}"
        )


def _eager(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: PointwiseFunction,
    channels_last: bool,
) -> Tensor:
    if not channels_last:
        per_channel = (-1, *[1] * (x.dim() - 2))
        weight = None if weight is None else weight.view(per_channel)
        bias = None if bias is None else bias.view(per_channel)
    z = alpha * x
    if shift is not None:
        z = z + shift
    y = function.f(z)
    if weight is not None:
        y = weight * y
    if bias is not None:
        y = y + bias
    return y.to(x.dtype)
