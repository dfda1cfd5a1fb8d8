"""The variants by name: how to build the layer that takes a normalization layer's place.

One table, `VARIANTS`, which `dyt.convert`, suites and the package's entry points share. Each
entry is called as `dyt.DynamicTanh` is::

    layer = dyt.variants.VARIANTS["arctan"](768, alpha_init_value=0.5)

The published layers have their own names, ``dyt`` and ``derf``. Every other function of
`dyt.FAMILY` gives a layer with a learnable shift, as Derf has one. ``layernorm``, ``rmsnorm`` and
``identity`` are there to compare with; they have no alpha.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from dyt.layers import DynamicErf, DynamicTanh, PointwiseNorm

__all__ = ["VARIANTS", "WITHOUT_ALPHA", "Build", "LayerNorm", "RMSNorm"]

# (normalized_shape, alpha_init_value=, elementwise_affine=, bias=, channels_last=, device=,
# dtype=) -> the layer; see `dyt.DynamicTanh`. Those in `WITHOUT_ALPHA` take no alpha_init_value.
Build = Callable[..., nn.Module]


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`, and with ``channels_last=False`` over axis 1 of ``(N, C, ...)``."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            list(_shape(normalized_shape)),
            1e-5 if eps is None else eps,
            elementwise_affine,
            bias,
            device,
            dtype,
        )
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape."""
        x = x if self.channels_last else x.movedim(1, -1)
        # A norm without parameters may have been given no width: then it takes any.
        shape = list(self.normalized_shape or x.shape[-1:])
        y = functional.layer_norm(x, shape, self.weight, self.bias, self.eps)
        return y if self.channels_last else y.movedim(-1, 1)


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm`, and with ``channels_last=False`` over axis 1 of ``(N, C, ...)``."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = False,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(list(_shape(normalized_shape)), eps, elementwise_affine, device, dtype)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape."""
        x = x if self.channels_last else x.movedim(1, -1)
        # A norm without parameters may have been given no width: then it takes any.
        shape = list(self.normalized_shape or x.shape[-1:])
        y = functional.rms_norm(x, shape, self.weight, self.eps)
        return y if self.channels_last else y.movedim(-1, 1)


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


arctan = partial(PointwiseNorm, function="arctan", shift_init_value=0.0)
isru = partial(PointwiseNorm, function="isru", shift_init_value=0.0)
satursin = partial(PointwiseNorm, function="satursin", shift_init_value=0.0)
softsign = partial(PointwiseNorm, function="softsign", shift_init_value=0.0)
relsign = partial(PointwiseNorm, function="relsign", shift_init_value=0.0)
expsign = partial(PointwiseNorm, function="expsign", shift_init_value=0.0)
exproot = partial(PointwiseNorm, function="exproot", shift_init_value=0.0)
cubsign = partial(PointwiseNorm, function="cubsign", shift_init_value=0.0)
saturlog = partial(PointwiseNorm, function="saturlog", shift_init_value=0.0)
hardtanh = partial(PointwiseNorm, function="hardtanh", shift_init_value=0.0)

VARIANTS: Mapping[str, Build] = MappingProxyType(
    {
        "dyt": DynamicTanh,
        "derf": DynamicErf,
        "tanh": DynamicTanh,
        "erf": DynamicErf,
        "arctan": arctan,
        "isru": isru,
        "satursin": satursin,
        "softsign": softsign,
        "relsign": relsign,
        "expsign": expsign,
        "exproot": exproot,
        "cubsign": cubsign,
        "saturlog": saturlog,
        "hardtanh": hardtanh,
        "layernorm": LayerNorm,
        "rmsnorm": RMSNorm,
        "identity": nn.Identity,
    }
)
WITHOUT_ALPHA: tuple[Build, ...] = (LayerNorm, RMSNorm, nn.Identity)
