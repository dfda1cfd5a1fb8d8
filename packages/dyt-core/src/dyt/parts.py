"""Modules that recipes put in the place of embeddings, dropout, linear layers and convolutions.

Each is built from the module that it stands for, and declares, as the layers in the place of norms
do (see `dyt.variants`):

- ``STANDS_FOR``: the class of that module;
- ``SHARES``: the parameters that both have, so that what training changes survives `dyt.revert`;
- ``OPTIONS``: its constructor's other arguments, each kept in an attribute of that name;
- ``NO_DECAY``: the parameters that `dyt.no_decay` lists.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "PARTS",
    "FixupLinear",
    "FlashLinear",
    "ScaledDropout",
    "ScaledEmbedding",
    "ScaledLinear",
    "SigmaConv2d",
    "SigmaLinear",
]

STD = 0.02  # of what starts at zero where zero will not do


class ScaledEmbedding(nn.Embedding):
    """``y = scale * weight[ids]``: an embedding with a learnable factor, of shape [1] or [D].

    A norm scales the embedding's output to unit variance; a point-wise layer does not, so the
    embedding does it itself. It shares ``weight`` with the embedding that it replaces, so that an
    output layer tied to that stays tied, and is not scaled.

    Args:
        embedding: the embedding to replace.
        scale_init_value: the factor at the start: a number, or a tensor of shape [D] for one
            factor for each channel.

    Shapes: ids of any shape -> ``(*ids.shape, D)``, in the weight's dtype.

    Source: arXiv 2503.10622, LLaMA: one scalar after the embedding, started at sqrt(D).

    Example:
        >>> import torch, dyt
        >>> embedding = dyt.ScaledEmbedding(torch.nn.Embedding(100, 16), scale_init_value=4.0)
        >>> embedding(torch.tensor([1, 2])).shape
        torch.Size([2, 16])
    """

    STANDS_FOR: ClassVar[type[nn.Module]] = nn.Embedding
    SHARES: ClassVar[tuple[str, ...]] = ("weight",)
    OPTIONS: ClassVar[tuple[str, ...]] = ("factors",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, embedding: nn.Embedding, scale_init_value: float | Tensor) -> None:
        weight = embedding.weight
        super().__init__(
            embedding.num_embeddings,
            embedding.embedding_dim,
            embedding.padding_idx,
            embedding.max_norm,
            embedding.norm_type,
            embedding.scale_grad_by_freq,
            embedding.sparse,
            _weight=weight,
        )
        self.weight = weight  # the same parameter, with its requires_grad
        start = torch.as_tensor(scale_init_value, device=weight.device, dtype=weight.dtype)
        self.scale = nn.Parameter(start.clone().view(-1), requires_grad=weight.requires_grad)

    @property
    def factors(self) -> int:
        """How many factors there are: 1, or one for each channel."""
        return self.scale.numel()

    @classmethod
    def rebuilt(cls, old: nn.Embedding, spec: Mapping[str, Any]) -> Self:
        """One for ``old`` with the options of ``spec``; its values are still to be loaded."""
        return cls(old, torch.ones(spec["factors"], device=old.weight.device)).train(old.training)

    def forward(self, input: Tensor) -> Tensor:
        return self.scale * super().forward(input)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scaled"


class ScaledDropout(nn.Dropout):
    """``y = dropout(scale * x)``: what enters the first block, times one learnable scalar.

    Args:
        dropout: the module after the sum of the embeddings.
        scale_init_value: the scalar at the start.

    Source: arXiv 2512.10938, GPT-2.

    Example:
        >>> import torch
        >>> from dyt.parts import ScaledDropout
        >>> ScaledDropout(torch.nn.Dropout(0.0), 2.0)(torch.ones(1)).item()
        2.0
    """

    STANDS_FOR: ClassVar[type[nn.Module]] = nn.Dropout
    SHARES: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[tuple[str, ...]] = ("scale_init_value",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, dropout: nn.Dropout, scale_init_value: float) -> None:
        super().__init__(dropout.p, dropout.inplace)
        self.scale_init_value = scale_init_value
        self.scale = nn.Parameter(torch.full((1,), float(scale_init_value)))
        self.train(dropout.training)

    @classmethod
    def rebuilt(cls, old: nn.Dropout, spec: Mapping[str, Any]) -> Self:
        """One for ``old``; its values are still to be loaded."""
        return cls(old, spec["scale_init_value"])

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.scale * input)


class _Linear(nn.Linear):
    """A linear layer that stands for another, of its shape, device, dtype and mode."""

    STANDS_FOR: ClassVar[type[nn.Module]] = nn.Linear
    SHARES: ClassVar[tuple[str, ...]] = ("weight", "bias")
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    NO_DECAY: ClassVar[tuple[str, ...]] = ()

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight = linear.weight
        self.bias = linear.bias
        self.train(linear.training)

    @classmethod
    def rebuilt(cls, old: nn.Linear, spec: Mapping[str, Any]) -> Self:
        """One for ``old`` with the options of ``spec``; its values are still to be loaded."""
        return cls(old, **{name: spec[name] for name in cls.OPTIONS})

    def _scalar(self, value: float) -> nn.Parameter:
        """A learnable scalar, of shape [1], as trainable as the weight."""
        start = torch.full((1,), value, device=self.weight.device, dtype=self.weight.dtype)
        return nn.Parameter(start, requires_grad=self.weight.requires_grad)


class ScaledLinear(_Linear):
    """``y = scale * (W x + b)``: the end of a residual branch, with a learnable scalar.

    Args:
        linear: the layer at the end of the branch; weight and bias are shared with it.
        scale_init_value: the scalar at the start. With 0 every block starts as the identity.

    Source: SkipInit, arXiv 2002.10444.

    Example:
        >>> import torch
        >>> from dyt.parts import ScaledLinear
        >>> ScaledLinear(torch.nn.Linear(4, 8))(torch.randn(2, 4)).any().item()
        False
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("scale_init_value",)
    NO_DECAY: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, linear: nn.Linear, scale_init_value: float = 0.0) -> None:
        super().__init__(linear)
        self.scale_init_value = scale_init_value
        self.scale = self._scalar(scale_init_value)

    def forward(self, input: Tensor) -> Tensor:
        return self.scale * super().forward(input)


class FixupLinear(_Linear):
    """``y = scale * W (x + shift_before) + shift_after``, with scalars in place of a bias.

    Args:
        linear: the layer that it stands for. The weight is drawn anew.
        factor: of the weight, which starts as Xavier's uniform distribution times this.
        before: whether there is a scalar before the layer.
        after: whether there is one after it, before the activation that follows.
        scaled: whether there is a learnable factor, started at 1: at the end of a branch.

    Source: Fixup, arXiv 1901.09321, section 3.

    Example:
        >>> import torch
        >>> from dyt.parts import FixupLinear
        >>> layer = FixupLinear(torch.nn.Linear(4, 8), factor=0.0, before=True, scaled=True)
        >>> sorted(name for name, _ in layer.named_parameters())
        ['scale', 'shift_before', 'weight']
    """

    SHARES: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[tuple[str, ...]] = ("factor", "before", "after", "scaled")
    NO_DECAY: ClassVar[tuple[str, ...]] = ("shift_before", "shift_after", "scale")
    shift_before: nn.Parameter | None
    shift_after: nn.Parameter | None
    scale: nn.Parameter | None

    def __init__(
        self,
        linear: nn.Linear,
        factor: float,
        before: bool = False,
        after: bool = False,
        scaled: bool = False,
    ) -> None:
        super().__init__(linear)
        self.register_parameter("bias", None)
        self.factor, self.before, self.after, self.scaled = factor, before, after, scaled
        start = torch.empty_like(linear.weight)
        self.weight = nn.Parameter(start, requires_grad=linear.weight.requires_grad)
        with torch.no_grad():
            nn.init.xavier_uniform_(self.weight).mul_(factor)
        self.register_parameter("shift_before", self._scalar(0.0) if before else None)
        self.register_parameter("shift_after", self._scalar(0.0) if after else None)
        self.register_parameter("scale", self._scalar(1.0) if scaled else None)

    def forward(self, input: Tensor) -> Tensor:
        x = input if self.shift_before is None else input + self.shift_before
        y = functional.linear(x, self.weight)
        y = y if self.scale is None else self.scale * y
        return y if self.shift_after is None else y + self.shift_after


class FlashLinear(_Linear):
    """``y = W x / rms(x) + b``: an RMSNorm and the linear layer after it, the division last.

    With ``rms(x) = sqrt(mean(x^2) + eps)`` over the features, and the norm's weight in W's columns,
    it computes what ``linear(norm(x))`` does. The product with W need not wait for the norm.

    Args:
        linear: the layer after the norm; its bias is shared, its weight copied.
        eps: the norm's.
        gain: the norm's weight, of shape [in_features]; None for a norm without.

    Source: FlashNorm, arXiv 2407.09577.

    Example:
        >>> import torch
        >>> from dyt.parts import FlashLinear
        >>> norm, linear = torch.nn.RMSNorm(4, eps=1e-6), torch.nn.Linear(4, 8)
        >>> x = torch.randn(2, 4)
        >>> torch.allclose(FlashLinear(linear, 1e-6)(x), linear(norm(x)), atol=1e-6)
        True
    """

    SHARES: ClassVar[tuple[str, ...]] = ("bias",)
    OPTIONS: ClassVar[tuple[str, ...]] = ("eps",)

    def __init__(self, linear: nn.Linear, eps: float, gain: Tensor | None = None) -> None:
        super().__init__(linear)
        self.eps = eps
        with torch.no_grad():
            weight = linear.weight.clone() if gain is None else linear.weight * gain
        self.weight = nn.Parameter(weight.to(linear.weight.dtype), linear.weight.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        y = functional.linear(input, self.weight)
        y = (y * inverse).to(y.dtype)
        return y if self.bias is None else y + self.bias


class SigmaLinear(_Linear):
    """``y = gain / sigma(W) * W x + b``, with sigma(W) the largest singular value of W.

    sigma(W) is ``v^T W u``, with u and v from one step of the power method a forward, which passes
    no gradient. In training the buffer ``u`` keeps it.

    Args:
        linear: the layer that it stands for; weight and bias are shared with it.

    Parameters: ``gain`` of shape [1], started at sigma(W), as in the authors' code for ViT, so that
    the layer starts as it was. (The paper, and their code for speech, start at 1.)

    A weight of zeros, of which sigma is 0, starts as the authors' code starts all: normal, of a
    standard deviation of 0.02, truncated.

    Source: sigmaReparam, arXiv 2303.06296.

    Example:
        >>> import torch
        >>> from dyt.parts import SigmaLinear
        >>> linear, x = torch.nn.Linear(4, 8), torch.randn(2, 4)
        >>> torch.allclose(SigmaLinear(linear)(x), linear(x), atol=1e-6)
        True
    """

    NO_DECAY: ClassVar[tuple[str, ...]] = ("gain",)
    gain: nn.Parameter
    u: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        _start_sigma(self)

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, _reparametrized(self), self.bias)


class SigmaConv2d(nn.Conv2d):
    """`SigmaLinear` for a convolution, whose weight counts as a matrix of (out, all other) axes."""

    STANDS_FOR: ClassVar[type[nn.Module]] = nn.Conv2d
    SHARES: ClassVar[tuple[str, ...]] = ("weight", "bias")
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    NO_DECAY: ClassVar[tuple[str, ...]] = ("gain",)
    gain: nn.Parameter
    u: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        old = convolution
        super().__init__(
            old.in_channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]  # pairs, as its constructor makes of all
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            old.dilation,  # type: ignore[arg-type]
            old.groups,
            False,
            old.padding_mode,
            device="meta",
        )
        self.weight, self.bias = old.weight, old.bias
        self.train(old.training)
        _start_sigma(self)

    @classmethod
    def rebuilt(cls, old: nn.Conv2d, spec: Mapping[str, Any]) -> Self:
        """One for ``old``; its values are still to be loaded."""
        return cls(old)

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input, _reparametrized(self), self.bias)
        return y


def _start_sigma(layer: SigmaLinear | SigmaConv2d) -> None:
    """Give the layer its gain and u: sigma(W), and the right singular vector that goes with it."""
    if not layer.weight.is_meta and not layer.weight.any():
        start = nn.init.trunc_normal_(torch.empty_like(layer.weight), std=STD)
        layer.weight = nn.Parameter(start, requires_grad=layer.weight.requires_grad)
    weight = layer.weight.detach()
    matrix = weight.flatten(1)
    sigma, u = matrix.new_empty(1), matrix.new_empty(matrix.shape[1])
    if not weight.is_meta:
        wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))  # no SVD in bfloat16
        _, values, right = torch.linalg.svd(wide, full_matrices=False)
        sigma, u = values[:1].to(weight.dtype), right[0].to(weight.dtype)
    layer.gain = nn.Parameter(sigma.clone(), requires_grad=layer.weight.requires_grad)
    layer.register_buffer("u", u.clone())


def _reparametrized(layer: SigmaLinear | SigmaConv2d) -> Tensor:
    """``gain / sigma(W) * W``, of W's shape."""
    matrix = layer.weight.flatten(1)
    with torch.no_grad():
        v = functional.normalize(matrix.mv(layer.u), dim=0)
        u = functional.normalize(matrix.T.mv(v), dim=0)
        if layer.training:
            layer.u.copy_(u)
    sigma = torch.dot(v, matrix.mv(u))
    return layer.gain / sigma * layer.weight


# By name, as `dyt.save` writes them.
PARTS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        ScaledEmbedding,
        ScaledDropout,
        ScaledLinear,
        FixupLinear,
        FlashLinear,
        SigmaLinear,
        SigmaConv2d,
    )
}
