"""The optimiser most of the papers' recipes share, for plugins to use or not."""

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig


def adamw_cosine(
    module: nn.Module,
    *,
    learning_rate: float,
    steps: int,
    warmup: float = 0.1,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.95),
) -> "OptimizerLRSchedulerConfig":
    """What ``configure_optimizers`` returns: AdamW, linear warm-up, cosine decay to zero.

    Weights of two and more dimensions decay; biases, norms, alpha and other scalars do not.

    Args:
        learning_rate: the peak.
        steps: optimiser steps in all.
        warmup: share of ``steps`` until the peak.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=learning_rate, betas=betas)
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
    }
