"""What the layers of a trained model do: their alpha, and how much of their input saturates."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dyt.family import lookup
from dyt.modules import PointwiseNorm

# Past this share of its supremum a function is flat: tanh at |z| > 1.83 passes on under a
# tenth of the gradient it would at 0.
SATURATED = 0.95


@dataclass
class Saturation:
    """Share of a layer's inputs that were saturated, over all the batches seen."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> saturated, all

    def shares(self) -> dict[str, float]:
        """Qualified name -> share in [0, 1], for the layers that saw input."""
        return {name: saturated / total for name, (saturated, total) in self.counts.items()}


def pointwise_layers(model: nn.Module) -> dict[str, PointwiseNorm]:
    """Qualified name -> layer, each shared layer once."""
    return {name: m for name, m in model.named_modules() if isinstance(m, PointwiseNorm)}


def alphas(model: nn.Module) -> dict[str, float]:
    """Qualified name -> alpha of every point-wise layer."""
    return {name: layer.alpha.item() for name, layer in pointwise_layers(model).items()}


@contextmanager
def watch_saturation(model: nn.Module) -> Iterator[Saturation]:
    """Count saturated inputs (``|f(alpha * x + shift)| > 0.95 * sup f``) in forwards within.

    Adds one evaluation of f to each layer's forward; leaves no hook behind.
    """
    seen = Saturation()

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, PointwiseNorm)
            function = lookup(layer.function)
            with torch.no_grad():
                z = layer.alpha * inputs[0]
                value = function.f(z if layer.shift is None else z + layer.shift)
                saturated = int((value.abs() > SATURATED * function.bound).sum())
            before, total = seen.counts.get(name, (0, 0))
            seen.counts[name] = (before + saturated, total + value.numel())

        return hook

    handles = [
        layer.register_forward_pre_hook(hook_for(name))
        for name, layer in pointwise_layers(model).items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
