"""What a kernel is called with, and what the launcher of every fused backend offers."""

from typing import NamedTuple, Protocol

from torch import Tensor

# x, alpha, shift, weight, bias: what a layer computes with. None: the layer has no such parameter.
Tensors = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]
# The gradients of these, in the same order; None where there is no such parameter.
Gradients = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class Call(NamedTuple):
    """The arguments of one call: ``weight * f(alpha * x + shift) + bias``.

    Shapes and dtypes are those of `dyt.pointwise_norm`, which has checked them.
    """

    x: Tensor
    alpha: Tensor
    shift: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    function: str  # name of f in `dyt.FAMILY`
    channels_last: bool

    # No properties: torch.compile of older releases does not trace those of a NamedTuple.
    def tensors(self) -> Tensors:
        return self.x, self.alpha, self.shift, self.weight, self.bias

    def affine(self) -> Tensor | None:
        """The weight, or without one the bias: they have one shape."""
        return self.weight if self.weight is not None else self.bias


class Prepared(Protocol):
    """Kernels for calls of one kind: the same function, layout, dtypes, shapes and strides."""

    def forward(self, tensors: Tensors) -> Tensor:
        """y, with the shape, dtype and strides of x."""

    def backward(self, dy: Tensor, tensors: Tensors) -> Gradients:
        """The gradients, each with the dtype of its tensor."""


class Launcher(Protocol):
    """The module of one fused backend."""

    def missing(self) -> str | None:
        """In one sentence why the backend is unavailable on this machine; None if it is."""

    def unsupported(self, call: Call) -> str | None:
        """In one sentence why it cannot compute this call; None if it can."""

    def prepare(self, call: Call) -> Prepared:
        """The kernels for calls of this kind."""
