"""A norm that gives way to the layer in its place while the model trains."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Gradual"]


class Gradual(nn.Module):
    """``y = gate * norm(x) + (1 - gate) * layer(x)``, with a gate that training closes.

    `dyt.set_progress` sets the gate: it is 1 up to ``begin``, falls as half a cosine, and is 0 from
    ``end`` on. Where it is 1 only the norm computes, and where it is 0 only the layer: the output
    is theirs, to the bit. Parameters of the other get no gradient then, so that an optimiser leaves
    them as they are, and starts its moments and counts its steps when their turn comes.

    Args:
        norm: the norm, which trains until the gate is closed.
        layer: what takes its place.
        begin, end: shares of training, ``0 <= begin < end <= 1``.

    Shapes: those of the norm. Buffer ``gate`` of shape []: a state dict says how far a site is.

    Several processes that train it together must expect parameters without a gradient
    (``find_unused_parameters`` of DDP). `torch.compile` compiles again where a gate opens and
    where it closes. `dyt.settle` leaves the layer alone.

    Raises:
        ValueError: shares in another order.

    Source: arXiv 2409.13710 removes LayerNorms one after another while a trained model is
    fine-tuned; the gate is that of arXiv 2602.10408.

    Example:
        >>> import torch, dyt
        >>> norm, x = torch.nn.LayerNorm(8), torch.randn(2, 8)
        >>> both = dyt.Gradual(norm, dyt.DynamicTanh(8), begin=0.0, end=0.5)
        >>> torch.equal(both(x), norm(x))
        True
        >>> dyt.set_progress(both, 0.5)
        >>> torch.equal(both(x), both.layer(x))
        True
    """

    gate: Tensor

    def __init__(self, norm: nn.Module, layer: nn.Module, begin: float, end: float) -> None:
        super().__init__()
        if not 0 <= begin < end <= 1:
            raise ValueError(f"begin and end must be 0 <= begin < end <= 1, got {begin}, {end}")
        self.norm, self.layer, self.begin, self.end = norm, layer, begin, end
        device = next((parameter.device for parameter in layer.parameters()), None)
        self.register_buffer("gate", torch.tensor(1.0, device=device))
        # Beside the buffer, so that no forward asks the device for it.
        self.computes: Literal["norm", "both", "layer"] = "norm"

    @property
    def weight(self) -> Any:
        """The layer's, for models that read the weight of a norm; None if it has none."""
        return getattr(self.layer, "weight", None)

    @property
    def bias(self) -> Any:
        """The layer's; None if it has none."""
        return getattr(self.layer, "bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """x as the norm takes it -> what the norm gives."""
        y: Tensor
        if self.computes == "both":
            y = self.gate * self.norm(x) + (1 - self.gate) * self.layer(x)
        else:
            y = self.norm(x) if self.computes == "norm" else self.layer(x)
        return y

    @torch.no_grad()
    def set_progress(self, share: float) -> None:
        """Set the gate for the next step, after ``share`` of training; see `dyt.set_progress`."""
        done = min(1.0, max(0.0, (share - self.begin) / (self.end - self.begin)))
        gate = (1 + math.cos(math.pi * done)) / 2
        self.gate.fill_(gate)
        self._follow(gate)

    def _follow(self, gate: float) -> None:
        self.computes = "norm" if gate == 1 else "layer" if gate == 0 else "both"

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        if not self.gate.is_meta:
            self._follow(self.gate.item())

    def extra_repr(self) -> str:
        return f"begin={self.begin:g}, end={self.end:g}"
