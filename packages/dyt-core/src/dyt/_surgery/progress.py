"""Tell the layers of a model how far its training is."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Progressing(Protocol):
    """A layer that changes while the model trains."""

    def set_progress(self, share: float) -> None:
        """Change to what the layer is after ``share`` of training, from 0 to 1."""


def set_progress(model: nn.Module, share: float) -> None:
    """Tell every layer that changes while the model trains, such as `TaperNorm`, how far it is.

    Call it before each step; without such a layer it does nothing.

    Args:
        share: of training that is done, from 0 at the first step to 1 after the last.

    Raises:
        ValueError: a share below 0 or above 1.

    Example:
        >>> import torch, dyt
        >>> model = dyt.convert(torch.nn.Sequential(torch.nn.RMSNorm(8)), "tapernorm")
        >>> for step in range(4):
        ...     dyt.set_progress(model, step / 4)
        ...     _ = model(torch.randn(2, 8))
        >>> model[0].gate.item()
        0.0
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    for module in model.modules():
        if isinstance(module, Progressing):
            module.set_progress(share)
