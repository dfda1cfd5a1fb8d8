"""The layers as modules. State dicts of the published implementations load unchanged."""

import math
from collections.abc import Sequence
from typing import ClassVar, Never

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting  # torch.jit does not export it to type checkers

from dyt.functional import pointwise_norm
from dyt.functions import lookup

__all__ = ["DynamicErf", "DynamicISRU", "DynamicTanh", "PointwiseNorm"]


class PointwiseNorm(nn.Module):
    """``y = weight * f(alpha * x + shift) + bias``, element by element, without any statistics.

    Args:
        normalized_shape: trailing shape of the input that weight and bias cover, as in
            `torch.nn.LayerNorm`; with ``channels_last=False`` the number of channels. A layer
            without weight and bias takes inputs of any width; its shape may be ``()``.
        function: name of f in `dyt.FAMILY`.
        alpha_init_value: alpha at the start.
        shift_init_value: shift at the start; None for a layer without one.
        elementwise_affine: whether there is a weight (and a bias).
        bias: whether an affine layer has a bias.
        channels_last: True for inputs ``(..., C)``, False for ``(N, C, ...)``.
        device: of the parameters.
        dtype: of the parameters; the output always has that of the input.

    Parameters: ``alpha`` and ``shift`` of shape [1]; ``weight`` (ones) and ``bias`` (zeros) of
    shape ``normalized_shape``.

    All arguments but the first are named: the published classes have them in other orders.

    Raises:
        ValueError: unknown function; a ``normalized_shape`` that is not positive, or empty in an
            affine layer; more than one dimension in it with ``channels_last=False``.
        TypeError: a second argument without a name; True or False as alpha.

    Source: arXiv 2503.10622 and arXiv 2512.10938.

    Example:
        >>> import torch, dyt
        >>> layer = dyt.PointwiseNorm(8, function="arctan", alpha_init_value=0.7)
        >>> layer(torch.randn(2, 8)).shape
        torch.Size([2, 8])
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("function", "alpha_init_value", "shift_init_value")
    NO_DECAY: ClassVar[tuple[str, ...]] = ("alpha", "shift", "weight", "bias")
    alpha: nn.Parameter
    shift: nn.Parameter | None
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *positional: Never,
        function: str = "tanh",
        alpha_init_value: float = 0.5,
        shift_init_value: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _refuse_published_order(positional, alpha_init_value)
        self.normalized_shape = _as_shape(normalized_shape, elementwise_affine, channels_last)
        self.function = lookup(function).name
        self.alpha_init_value = alpha_init_value
        self.shift_init_value = shift_init_value
        self.elementwise_affine = elementwise_affine
        self.channels_last = channels_last

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.alpha = parameter(1)
        has_shift, has_bias = shift_init_value is not None, elementwise_affine and bias
        self.register_parameter("shift", parameter(1) if has_shift else None)
        affine_shape = self.normalized_shape
        self.register_parameter("weight", parameter(*affine_shape) if elementwise_affine else None)
        self.register_parameter("bias", parameter(*affine_shape) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set alpha and shift to their initial values, weight to ones, bias to zeros."""
        nn.init.constant_(self.alpha, self.alpha_init_value)
        if self.shift is not None and self.shift_init_value is not None:
            nn.init.constant_(self.shift, self.shift_init_value)
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape and dtype."""
        if self.channels_last:
            # The output of a LayerNorm is contiguous whatever the strides of its input, and some
            # models then call view on it (granite_docling's vision tower).
            x = x.contiguous()
        elif x.dim() == 4:
            # A LayerNorm over channels permutes, normalizes and permutes back, so that the next
            # layer gets channels-last memory. With any other order ConvNeXt's convolutions would
            # switch between two orders, and a training step took 5 to 10 % longer.
            x = x.contiguous(memory_format=torch.channels_last)
        if is_scripting():  # TorchScript compiles nothing that follows
            y: Tensor = torch.ops.dyt.pointwise_norm(
                x,
                self.alpha,
                self.shift,
                self.weight,
                self.bias,
                self.function,
                self.channels_last,
                "auto",
            )
            return y
        own = self._parameters
        if len(own) == 4:  # read directly: attribute lookup in nn.Module is slow
            alpha, shift, weight, bias = own["alpha"], own["shift"], own["weight"], own["bias"]
        else:  # torch.nn.utils.parametrize computes some of them
            alpha, shift, weight, bias = self.alpha, self.shift, self.weight, self.bias
        assert alpha is not None
        return pointwise_norm(
            x,
            alpha,
            shift,
            weight,
            bias,
            function=self.function,
            channels_last=self.channels_last,
        )

    def extra_repr(self) -> str:
        shift = "" if self.shift is None else f", shift_init_value={self.shift_init_value}"
        return (
            f"{self.normalized_shape}, function={self.function!r}, "
            f"alpha_init_value={self.alpha_init_value}{shift}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}, "
            f"channels_last={self.channels_last}"
        )


class DynamicTanh(PointwiseNorm):
    """DyT: ``y = weight * tanh(alpha * x) + bias``. See `PointwiseNorm` for the arguments.

    Checkpoints of the published implementation load unchanged.

    Source: arXiv 2503.10622.

    Example:
        >>> import torch, dyt
        >>> layer = dyt.DynamicTanh(768)
        >>> layer(torch.randn(2, 16, 768)).shape
        torch.Size([2, 16, 768])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *positional: Never,
        alpha_init_value: float = 0.5,
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            normalized_shape,
            *positional,
            function="tanh",
            alpha_init_value=alpha_init_value,
            elementwise_affine=elementwise_affine,
            bias=bias,
            channels_last=channels_last,
            device=device,
            dtype=dtype,
        )


class DynamicErf(PointwiseNorm):
    """Derf: ``y = weight * erf(alpha * x + shift) + bias``. See `PointwiseNorm`.

    Source: arXiv 2512.10938.

    Example:
        >>> import torch, dyt
        >>> dyt.DynamicErf(8, channels_last=False)(torch.randn(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *positional: Never,
        alpha_init_value: float = 0.5,
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        shift_init_value: float = 0.0,
    ) -> None:
        super().__init__(
            normalized_shape,
            *positional,
            function="erf",
            alpha_init_value=alpha_init_value,
            shift_init_value=shift_init_value,
            elementwise_affine=elementwise_affine,
            bias=bias,
            channels_last=channels_last,
            device=device,
            dtype=dtype,
        )


class DynamicISRU(nn.Module):
    """DyISRU: ``y = weight * sqrt(C) * x / sqrt(beta + x^2) + bias``, element by element.

    The exact element-wise counterpart of RMSNorm, ``y_i = sqrt(C) x_i / sqrt(sum_j x_j^2)``: beta
    stands for the sum over all other features. One for all, it is learned. The paper gives no value
    to start it from; C is that sum for inputs of unit variance.

    Args:
        normalized_shape: as in `PointwiseNorm`; C is its size.
        beta_init_value: beta at the start; None for C.
        elementwise_affine, bias, channels_last, device, dtype: as in `PointwiseNorm`.

    Parameters: ``beta`` of shape [1]; ``weight`` (ones) and ``bias`` (zeros) of the shape given.

    Raises:
        ValueError: a ``normalized_shape`` that is empty or not positive.

    Source: arXiv 2503.21708.

    Example:
        >>> import torch, dyt
        >>> dyt.DynamicISRU(8)(torch.randn(2, 8)).shape
        torch.Size([2, 8])
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("beta_init_value",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("beta", "weight", "bias")
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *,
        beta_init_value: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        # A width is needed even without weight and bias: C is a part of the formula.
        self.normalized_shape = _as_shape(normalized_shape, True, channels_last)
        self.beta_init_value = beta_init_value
        self.elementwise_affine = elementwise_affine
        self.channels_last = channels_last
        self.width = math.prod(self.normalized_shape)

        def parameter(value: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.full(shape, float(value), device=device, dtype=dtype))

        shape = self.normalized_shape
        self.beta = parameter(self.width if beta_init_value is None else beta_init_value, 1)
        self.register_parameter("weight", parameter(1.0, *shape) if elementwise_affine else None)
        has_bias = elementwise_affine and bias
        self.register_parameter("bias", parameter(0.0, *shape) if has_bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape and dtype."""
        root = math.sqrt(self.width)
        y = pointwise_norm(
            x.contiguous() if self.channels_last else x,
            self.beta.rsqrt(),
            None,
            None if self.weight is None else root * self.weight,
            self.bias,
            function="isru",  # x / sqrt(beta + x^2) = f(x / sqrt(beta))
            channels_last=self.channels_last,
        )
        return y if self.weight is not None else root * y

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, beta_init_value={self.beta_init_value}"


def _refuse_published_order(positional: tuple[object, ...], alpha: object) -> None:
    if positional or isinstance(alpha, bool):
        raise TypeError(
            "all arguments but normalized_shape need their names, as in alpha_init_value=0.5, and "
            "alpha is no bool: the published layers take channels_last (DiT's: elementwise_affine) "
            "second and alpha_init_value third, so write those names here too"
        )


def _as_shape(
    normalized_shape: int | Sequence[int], affine: bool, channels_last: bool
) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if (affine and not shape) or any(size < 1 for size in shape):
        raise ValueError(f"normalized_shape must be positive, got {normalized_shape!r}")
    if not channels_last and len(shape) > 1:
        raise ValueError(
            f"normalized_shape must be the number of channels when channels_last=False, got {shape}"
        )
    return shape
