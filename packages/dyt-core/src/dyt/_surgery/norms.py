"""LayerNorm and RMSNorm in either layout: what `dyt.convert` puts in for "layernorm", "rmsnorm"."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


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
