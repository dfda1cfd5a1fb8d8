"""Layers that compute statistics of their input: the norms, and what is published beside them.

Each takes the arguments of `dyt.PointwiseNorm` that every layer has, and ``eps``; on top of what
`dyt.variants` says, ``AVERAGES`` tells `dyt.convert` that the shape decides what is averaged over.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BHyT", "LayerNorm", "RMSNorm", "SeeDNorm", "TaperNorm"]


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`, and with ``channels_last=False`` over axis 1 of ``(N, C, ...)``."""

    AVERAGES: ClassVar[bool] = True
    OPTIONS: ClassVar[tuple[str, ...]] = ("eps",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("weight", "bias")

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

    AVERAGES: ClassVar[bool] = True
    OPTIONS: ClassVar[tuple[str, ...]] = ("eps",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("weight",)

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


class _OfFeatures(nn.Module):
    """Base of the layers below: a function of x and of the mean of its squares, without a bias.

    Computed in float32 at least; the result has the input's dtype.
    """

    AVERAGES: ClassVar[bool] = True
    OPTIONS: ClassVar[tuple[str, ...]] = ("eps",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("weight",)
    weight: nn.Parameter | None

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
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = 1e-6 if eps is None else eps
        self.elementwise_affine = elementwise_affine
        self.channels_last = channels_last
        self._place = {"device": device, "dtype": dtype}
        self.weight = self._filled(1.0, *self.normalized_shape) if elementwise_affine else None

    def _filled(self, value: float, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.full(shape, value, **self._place))  # type: ignore[arg-type]

    @property
    def axes(self) -> tuple[int, ...]:
        """What is averaged over: the trailing axes of ``normalized_shape``."""
        return tuple(range(-(len(self.normalized_shape) or 1), 0))

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape and dtype."""
        moved = x if self.channels_last else x.movedim(1, -1)
        wide = moved.to(torch.promote_types(x.dtype, torch.float32))
        y = self.computed(wide, torch.rsqrt(self._mean(wide.square()) + self.eps)).to(x.dtype)
        return y if self.channels_last else y.movedim(-1, 1)

    def computed(self, x: Tensor, inverse: Tensor) -> Tensor:
        """The layer's formula; ``inverse`` is 1 / rms(x), with axes of size 1."""
        raise NotImplementedError

    def _mean(self, x: Tensor) -> Tensor:
        return x.mean(self.axes, keepdim=True)

    def extra_repr(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)}" for name in self.OPTIONS)
        return f"{self.normalized_shape}, {given}, channels_last={self.channels_last}"


class SeeDNorm(_OfFeatures):
    """SeeDNorm: ``y = (tanh(x . beta) * alpha + weight) * x / rms(x)``.

    An RMSNorm whose gain depends on the input, by the product of x with beta: it starts as the
    RMSNorm. Without a weight, 1 stands for it.

    Args:
        normalized_shape: the trailing shape that is averaged over, and that every parameter covers.
        eps: added to the mean square; None for 1e-6.
        elementwise_affine: whether there is a weight.
        bias: taken for the sake of the other layers; there is none.
        channels_last, device, dtype: as in `dyt.PointwiseNorm`.

    Parameters: ``weight`` (ones), ``alpha`` (ones), ``beta`` (zeros), each of ``normalized_shape``.
    Weight decay takes alpha and beta, as the paper has it.

    Raises:
        ValueError: an empty ``normalized_shape``.

    Source: arXiv 2510.22777, one head, and alpha started at 1, as for language models.

    Example:
        >>> import torch
        >>> from dyt.norms import SeeDNorm
        >>> x = torch.randn(2, 8)
        >>> torch.allclose(SeeDNorm(8)(x), torch.nn.RMSNorm(8, eps=1e-6)(x), atol=1e-6)
        True
    """

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
        super().__init__(
            normalized_shape, eps, elementwise_affine, bias, channels_last, device, dtype
        )
        if not self.normalized_shape:
            raise ValueError(
                "SeeDNorm needs a normalized_shape: its alpha and beta have that shape"
            )
        self.alpha = self._filled(1.0, *self.normalized_shape)
        self.beta = self._filled(0.0, *self.normalized_shape)

    def computed(self, x: Tensor, inverse: Tensor) -> Tensor:
        dynamic = torch.tanh((x * self.beta).sum(self.axes, keepdim=True)) * self.alpha
        return (dynamic + (1 if self.weight is None else self.weight)) * x * inverse


class BHyT(_OfFeatures):
    """BHyT: ``y = weight * tanh(lam * x / (kappa * rms(x)))``.

    By Chebyshev's inequality the argument of tanh lies within +-lam with probability
    1 - 1 / kappa^2. This is the paper's BHyT*, with the exact statistic at every site; its BHyT
    estimates that of the norm before the feed-forward part from the one before attention.

    Args:
        normalized_shape: the trailing shape that is averaged over, and that the weight covers.
        eps: added to the mean square; None for 1e-6.
        lam_init_value: lam at the start.
        kappa: a constant; 10 for a probability of 0.99.
        elementwise_affine, bias, channels_last, device, dtype: as in `SeeDNorm`.

    Parameters: ``weight`` (ones) of ``normalized_shape``; ``lam`` of shape [1].

    Source: arXiv 2601.09719. The authors' code searches the start of lam from 1 to 5.

    Example:
        >>> import torch
        >>> from dyt.norms import BHyT
        >>> bool((BHyT(8)(100 * torch.randn(2, 8)).abs() < 1).all())
        True
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("eps", "lam_init_value", "kappa")
    NO_DECAY: ClassVar[tuple[str, ...]] = ("weight", "lam")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = False,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        lam_init_value: float = 1.0,
        kappa: float = 10.0,
    ) -> None:
        super().__init__(
            normalized_shape, eps, elementwise_affine, bias, channels_last, device, dtype
        )
        self.lam_init_value, self.kappa = lam_init_value, kappa
        self.lam = self._filled(lam_init_value, 1)

    def computed(self, x: Tensor, inverse: Tensor) -> Tensor:
        y = torch.tanh(self.lam / self.kappa * inverse * x)
        return y if self.weight is None else self.weight * y


class TaperNorm(_OfFeatures):
    """TaperNorm: ``y = g * weight * x / rms(x) + (1 - g) * c * late_weight * x``.

    An RMSNorm that turns into a linear map while the model trains. `dyt.set_progress` tells it how
    far training is: up to ``warmup`` the gate g is 1 and the layer is the RMSNorm; there c is set
    to what fits the norm best, ``mean(e / rms(x)) / mean(e)`` with ``e = |weight * x|^2``, of which
    it has kept moving averages (decay 0.99 a forward), and late_weight to weight; then g falls as
    half a cosine, to 0 at ``end``.

    Args:
        normalized_shape: the trailing shape that is averaged over, and that the weights cover.
        eps: added to the mean square; None for 1e-6.
        warmup, end: shares of training. The paper's are settings of its runs; these are ours.
        elementwise_affine, bias, channels_last, device, dtype: as in `SeeDNorm`.

    Parameters: ``weight`` and ``late_weight`` (ones) of ``normalized_shape``. Buffers, of shape []:
    ``gate``, ``scale`` (c), ``numerator`` and ``denominator`` of it.

    Source: arXiv 2602.10408.

    Example:
        >>> import torch, dyt
        >>> from dyt.norms import TaperNorm
        >>> layer, x = TaperNorm(8), torch.randn(2, 8)
        >>> _ = layer(x)
        >>> dyt.set_progress(layer, 1.0)
        >>> torch.allclose(layer(2 * x), 2 * layer(x))
        True
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("eps", "warmup", "end")
    NO_DECAY: ClassVar[tuple[str, ...]] = ("weight", "late_weight")
    DECAY: ClassVar[float] = 0.99  # of the moving averages
    late_weight: nn.Parameter | None
    gate: Tensor
    scale: Tensor
    numerator: Tensor
    denominator: Tensor

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        bias: bool = False,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        warmup: float = 0.1,
        end: float = 0.5,
    ) -> None:
        super().__init__(
            normalized_shape, eps, elementwise_affine, bias, channels_last, device, dtype
        )
        if not 0 < warmup < end <= 1:
            raise ValueError(f"warmup and end must be 0 < warmup < end <= 1, got {warmup}, {end}")
        self.warmup, self.end = warmup, end
        shape = self.normalized_shape
        self.late_weight = self._filled(1.0, *shape) if elementwise_affine else None
        for name, value in (
            ("gate", 1.0),
            ("scale", 1.0),
            ("numerator", 0.0),
            ("denominator", 0.0),
        ):
            self.register_buffer(name, torch.tensor(value, device=device))

    def computed(self, x: Tensor, inverse: Tensor) -> Tensor:
        normalized, linear = x * inverse, self.scale * x
        if self.weight is not None and self.late_weight is not None:
            normalized, linear = self.weight * normalized, self.late_weight * linear
        if self.training:
            self._average(x.detach(), inverse.detach())
        return self.gate * normalized + (1 - self.gate) * linear

    @torch.no_grad()
    def _average(self, x: Tensor, inverse: Tensor) -> None:
        """Take one forward into the averages, while the gate is open.

        Both start at 0, which cancels in their ratio.
        """
        rate = ((1 - self.DECAY) * (self.gate == 1)).to(self.numerator.dtype)
        energy = self._mean((x if self.weight is None else self.weight * x).square())
        self.numerator.lerp_((energy * inverse).mean().to(self.numerator.dtype), rate)
        self.denominator.lerp_(energy.mean().to(self.denominator.dtype), rate)

    @torch.no_grad()
    def set_progress(self, share: float) -> None:
        """Set the gate for the next step, after ``share`` of training; see `dyt.set_progress`."""
        if share <= self.warmup:
            return
        # Without a question to the device: where the gate closes now, and has had an input.
        starts = (self.gate == 1) & (self.denominator > 0)
        self.scale.copy_(torch.where(starts, self.numerator / self.denominator, self.scale))
        if self.weight is not None and self.late_weight is not None:
            self.late_weight.copy_(torch.where(starts, self.weight, self.late_weight))
        done = min(1.0, (share - self.warmup) / (self.end - self.warmup))
        self.gate.fill_((1 + math.cos(math.pi * done)) / 2)
