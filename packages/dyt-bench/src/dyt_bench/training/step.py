"""One training step without a Trainer, and the time that it takes in several variants."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import cycle, islice
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from dyt_bench.plugin.data import SeededDataModule
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import AA
from dyt_bench.training.build import build, with_logging_off
from dyt_bench.training.clock import interleave, now
from dyt_bench.training.device import autocast, bind, device_to_use

TIMED_BATCHES = 4  # kept in memory and used in turn, so that loading is not timed


def step(
    module: LightningModule,
    batch: Any,
    optimizer: Optimizer,
    preset: TrainingPreset,
    in_precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """What a Trainer does with a batch: forward, backward, clip, optimiser step.

    Every timing of a step calls this function, so all shares and ratios are of the step that the
    preset trains with. ``in_precision`` is `autocast` of the preset. Gradients are cleared.
    """
    with in_precision():
        loss = module.training_step(batch, 0)
    assert isinstance(loss, Tensor)  # the contract
    loss.backward()  # type: ignore[no-untyped-call]
    if preset.clip_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), preset.clip_norm)
    optimizer.step()
    optimizer.zero_grad()


def optimizer_of(module: LightningModule) -> Optimizer:
    """The optimiser that the module configures, returned alone or under "optimizer"."""
    configured: Any = module.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    assert isinstance(optimizer, Optimizer)
    return optimizer


def time_variants(
    variants: Mapping[str, Parts], *, rounds: int, compile: bool = False
) -> dict[str, list[float]]:
    """Training steps of a task's variants in turn: label -> seconds of a step, by round.

    A second copy of the first variant is timed under the label "A/A": how far the two differ is
    the noise floor of this machine.

    Args:
        variants: label -> what the run is made of; all of one task.
        compile: whether forward and backward run under ``torch.compile``.
    """
    bind()
    if compile:  # all variants share the code of one step, and are compiled of it one by one
        torch._dynamo.config.recompile_limit = 8 + len(variants)
    steps: dict[str, Callable[[], float]] = {}
    for label, parts in variants.items():
        for name in (label,) if steps else (label, AA):
            # A/A is a second model: where a model lies in memory changes its time, too.
            steps[name] = timed_step(parts, compile=compile)
    interleave(steps, rounds=2)  # warm up
    return interleave(steps, rounds=rounds)


def timed_step(parts: Parts, *, compile: bool = False) -> Callable[[], float]:
    """A call that trains a model for one step and returns its seconds.

    A task's batch that is divided is timed by one of its parts, on one device.
    """
    data, module, _ = build(parts)
    device, preset = device_to_use(), parts.domain.training(parts.task)
    module.to(device).train()
    with_logging_off(module)
    if compile:
        setattr(module, "training_step", torch.compile(module.training_step))  # noqa: B010
    in_precision = autocast(preset, device)
    optimizer = optimizer_of(module)
    if isinstance(data, SeededDataModule):
        data.micro_batch = parts.task.at_once
    data.prepare_data()
    data.setup("fit")
    # Of a module that pretrains first, batches of that phase alone: they differ in shape.
    count = min(TIMED_BATCHES, getattr(module, "pretraining_steps", 0) or TIMED_BATCHES)
    batches = islice(data.train_dataloader(), count)
    turn = cycle([move_data_to_device(batch, device) for batch in batches])

    def timed() -> float:
        batch = next(turn)
        start = now(device)
        step(module, batch, optimizer, preset, in_precision)
        return now(device) - start

    return timed
