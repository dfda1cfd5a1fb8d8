"""One architecture, built, with inputs that may suit it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dyt_bench.plugin.batches import tensors

SMALL = 30_000_000  # parameters: larger models stay on the meta device


@dataclass(frozen=True)
class Specimen:
    """A model and inputs that may suit it, the likeliest first."""

    name: str  # "timm:vit_tiny_patch16_224"
    model: nn.Module
    inputs: tuple[dict[str, Any], ...] = field(default=())  # keyword arguments of forward

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))


def total(output: object) -> Tensor:
    """A scalar that depends on every floating tensor of ``output``, to run backward from.

    Raises:
        ValueError: no part of the output depends on a parameter.
    """
    parts = [t.float().square().mean() for t in tensors(output) if t.requires_grad and t.numel()]
    if not parts:
        raise ValueError("no part of the output requires a gradient")
    return torch.stack([part.reshape(()) for part in parts]).sum()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
