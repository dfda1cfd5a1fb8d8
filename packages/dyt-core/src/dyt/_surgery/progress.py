"""Tell the layers of a model how far its training is, and leave out what has done its part."""

from typing import Protocol, runtime_checkable

from torch import nn

from dyt._gradual import Gradual
from dyt._surgery.encoder import keep_from_kernel
from dyt._surgery.placing import is_put_in, replace, stand_for
from dyt._surgery.saving import make_savable


@runtime_checkable
class Progressing(Protocol):
    """A layer that changes while the model trains."""

    def set_progress(self, share: float) -> None:
        """Change to what the layer is after ``share`` of training, from 0 to 1."""


def set_progress(model: nn.Module, share: float) -> None:
    """Tell every layer that changes while the model trains how far it is: `TaperNorm`, `Gradual`.

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


def settle(model: nn.Module) -> nn.Module:
    """Leave out the norms of a gradual swap that is through, in place, and return the model.

    Every `Gradual` is replaced by its layer. The model is then as `convert` without a gradual
    recipe makes it, with the same outputs, and `save`, `fold` and exporters take it. A model
    without such layers stays as it is.

    Raises:
        ValueError: a norm still computes: the model has not trained to the end of its turns.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
        >>> model = dyt.convert(model, "dyt", recipe="gradual")
        >>> dyt.set_progress(model, 1.0)
        >>> type(dyt.settle(model)[1]).__name__
        'DynamicTanh'
    """
    through = {name: m for name, m in model.named_modules() if isinstance(m, Gradual)}
    early = [name for name, module in through.items() if module.computes != "layer"]
    if early:
        raise ValueError(
            f"{len(early)} of {len(through)} sites still compute their norm, {early[0]!r} among "
            "them: train to the end, with dyt.set_progress before each step"
        )
    for module in through.values():
        stand_for(module.norm, module.layer)
    model = replace(model, {module: module.layer for module in through.values()})
    keep_from_kernel(model, is_put_in)
    make_savable(model)
    return model
