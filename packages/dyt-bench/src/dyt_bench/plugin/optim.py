"""AdamW with warm-up and a schedule: the optimiser that most of the papers share."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from dyt_bench.plugin.domain import Decays, TrainingPreset

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

__all__ = ["adamw", "decaying"]


def decaying(module: nn.Module, decays: Decays) -> set[nn.Parameter]:
    """The parameters that weight decay takes, as the published codes choose them.

    - "matrices": those of two and more dimensions, but the ones that a model names in a method
      ``no_weight_decay``, as timm's ViT its positions (arXiv 2503.10622 for images; nanoGPT);
    - "all": every one, so that the weights of norms, alpha and biases decay as well (fms-fsdp for
      LLaMA, fairseq for wav2vec 2.0);
    - "not norms": all but biases, embeddings, the weights of PyTorch's own norms, and parameters
      marked ``_no_weight_decay``; the weights and alpha of what replaces norms decay (HyenaDNA's
      and Caduceus' code).
    """
    if decays == "all":
        return set(module.parameters())
    if decays == "matrices":
        named = {
            parameter
            for model in module.modules()
            if callable(names := getattr(model, "no_weight_decay", None))
            for name, parameter in model.named_parameters()
            if name in names()
        }
        return {p for p in module.parameters() if p.dim() > 1} - named
    left = set[nn.Parameter]()
    for part in module.modules():
        whole = isinstance(part, nn.Embedding | nn.LayerNorm | nn.GroupNorm)
        for name, parameter in part.named_parameters(recurse=False):
            marked = getattr(parameter, "_no_weight_decay", False)
            if whole or marked or name.endswith("bias"):
                left.add(parameter)
    return {*module.parameters()} - left


def adamw(
    module: nn.Module,
    training: TrainingPreset,
    *,
    learning_rate: float,
    steps: int,
    own: Mapping[nn.Parameter, Mapping[str, Any]] | None = None,
) -> "OptimizerLRSchedulerConfig":
    """What ``configure_optimizers`` returns: AdamW, linear warm-up, then the preset's schedule.

    `decaying` says which parameters decay.

    Args:
        training: betas, eps, weight decay, warm-up and schedule.
        learning_rate: the peak.
        steps: optimiser steps in all.
        own: parameters with settings of their own, {"lr": peak, "weight_decay": 0.0}; what is
            missing there is as for all others.
    """
    own, decayed = own or {}, decaying(module, training.decays)
    groups: dict[tuple[tuple[str, Any], ...], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            decay = training.weight_decay if parameter in decayed else 0.0
            settings = {"lr": learning_rate, "weight_decay": decay, **own.get(parameter, {})}
            groups.setdefault(tuple(sorted(settings.items())), []).append(parameter)
    optimizer = AdamW(
        [{"params": parameters, **dict(settings)} for settings, parameters in groups.items()],
        lr=learning_rate,
        betas=training.betas,
        eps=training.eps,
        # One call for all parameters saves a sixth of a small model's step on a CPU, and makes one
        # alpha a layer cost nothing. Lightning cannot clip with a fused optimiser that unscales.
        fused=training.precision != "16-mixed",
    )
    # Not torch's SequentialLR of LinearLR and CosineAnnealingLR: they multiply the last rate, so
    # rounding accumulates; a function of the step gives the same rate wherever training resumes.
    scheduler = LambdaLR(optimizer, rate_factor(training, steps))
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    }


def rate_factor(training: TrainingPreset, steps: int) -> Callable[[int], float]:
    """Step -> share of the peak rate: a line up over the warm-up, then the schedule."""
    rise = max(1, round(training.warmup * steps))
    fall = max(1, steps - rise)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / fall)
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "constant": 1.0,
        }[training.schedule]
        return training.final_rate + (1 - training.final_rate) * left

    return factor
