"""Optimiser and schedule of a LightningModule: any, or AdamW with warm-up as the papers have it."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dyt_bench.plugin.domain import Decays, TrainingPreset
from dyt_bench.plugin.muon import MuonAndAdamW, hidden_matrices
from dyt_bench.plugin.task import Task

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

__all__ = [
    "MakeOptimizer",
    "MakeSchedule",
    "Optimization",
    "adamw",
    "configured",
    "decaying",
    "optimization",
    "warmed_up",
]

MakeOptimizer = Callable[..., Optimizer]  # (parameters or groups of them, lr=the peak rate)
MakeSchedule = Callable[[Optimizer], LRScheduler]  # stepped after each step of the optimiser


class Optimization(TypedDict):
    """What modules take to be optimised: a `LightningModule` gets it as ``**keywords``."""

    learning_rate: float  # the peak
    optimizer: MakeOptimizer
    schedule: MakeSchedule
    decays: Decays


def configured(
    module: nn.Module,
    *,
    learning_rate: float,
    optimizer: MakeOptimizer = AdamW,
    schedule: MakeSchedule | None = None,
    decays: Decays = "matrices",
    own: Mapping[nn.Parameter, Mapping[str, Any]] | None = None,
) -> "OptimizerLRSchedulerConfig":
    """What ``configure_optimizers`` returns.

    Parameters that `decaying` takes decay as the optimiser does it, the others do not.

    Args:
        learning_rate: the peak.
        optimizer: called with groups of parameters and ``lr``: ``torch.optim.AdamW``, or
            ``partial(torch.optim.SGD, momentum=0.9)``.
        schedule: called with the optimiser; None: the rate stays.
        decays: by default weights of two and more dimensions.
        own: parameters with settings of their own, {"lr": peak, "weight_decay": 0.0}; what is
            missing there is as for all others.
    """
    own, decayed = own or {}, decaying(module, decays)
    groups: dict[tuple[tuple[str, Any], ...], list[nn.Parameter]] = {}
    made_by = optimizer.func if isinstance(optimizer, partial) else optimizer
    hidden = hidden_matrices(module) if made_by is MuonAndAdamW else set()
    for parameter in module.parameters():
        if parameter.requires_grad:
            exempt = {} if parameter in decayed else {"weight_decay": 0.0}
            settings = {**exempt, **own.get(parameter, {})}
            if parameter in hidden:
                settings |= MuonAndAdamW.hidden
            groups.setdefault(tuple(sorted(settings.items())), []).append(parameter)
    made = optimizer(
        [{"params": parameters, **dict(settings)} for settings, parameters in groups.items()],
        lr=learning_rate,
    )
    scheduler = LambdaLR(made, _constant) if schedule is None else schedule(made)
    return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _constant(step: int) -> float:
    return 1.0


def optimization(task: Task, training: TrainingPreset) -> Optimization:
    """The task's rate and optimiser, the preset's options, warm-up and schedule over its steps."""
    return _of_preset(training, task.learning_rate, task.steps, task.optimizer)


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
    """`configured` with the preset's AdamW, linear warm-up and schedule.

    Args:
        training: betas, eps, weight decay, warm-up and schedule.
        learning_rate: the peak.
        steps: optimiser steps in all.
        own: as in `configured`.
    """
    return configured(module, own=own, **_of_preset(training, learning_rate, steps))


def _of_preset(
    training: TrainingPreset, learning_rate: float, steps: int, optimizer: str = "adamw"
) -> Optimization:
    return {
        "learning_rate": learning_rate,
        "optimizer": partial(
            MuonAndAdamW if optimizer == "muon" else AdamW,
            betas=training.betas,
            eps=training.eps,
            weight_decay=training.weight_decay,
            fused=_is_fused(training),
        ),
        "schedule": warmed_up(
            steps,
            warmup=training.warmup,
            schedule=training.schedule,
            final_rate=training.final_rate,
        ),
        "decays": training.decays,
    }


def _is_fused(training: TrainingPreset) -> bool:
    """Whether one call steps all parameters.

    It saves a sixth of a small model's step on a CPU, and makes one alpha a layer cost nothing.
    Lightning scales no loss for such an optimiser, and clips no gradients of it under autocast.
    """
    if training.precision == "bf16-mixed":
        return training.clip_norm is None
    return training.precision != "16-mixed"


def warmed_up(
    steps: int,
    *,
    warmup: float = 0.1,
    schedule: Literal["cosine", "linear", "constant"] = "cosine",
    final_rate: float = 0.0,
) -> MakeSchedule:
    """A line up to the peak rate, then the schedule.

    Args:
        steps: of the optimiser, in all.
        warmup: share of them until the peak.
        schedule: after the peak.
        final_rate: share of the peak at the end.
    """
    rise = max(1, round(warmup * steps))
    fall = max(1, steps - rise)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / fall)
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "constant": 1.0,
        }[schedule]
        return final_rate + (1 - final_rate) * left

    # Not torch's SequentialLR of LinearLR and CosineAnnealingLR: they multiply the last rate, so
    # rounding accumulates; a function of the step gives the same rate wherever training resumes.
    return partial(LambdaLR, lr_lambda=factor)
