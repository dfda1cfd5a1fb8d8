"""Random numbers of a sample: by seed, step and the sample's place in the batch of all processes.

What a sample draws then depends neither on the number of processes nor on how many samples go
through the model at once.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Generator, Tensor

from dyt_bench.plugin.data import place

__all__ = ["drawn", "generators", "generators_at", "places", "places_of_step"]


def places(module: LightningModule, index: int, count: int) -> range:
    """Where the ``count`` samples of this process's training batch ``index`` lie in the step's.

    A step of n processes has n equal parts, and each of them as many equal batches as the Trainer
    accumulates gradients over.
    """
    rank, _ = place()
    parts = _parts(module)
    first = (rank * parts + index % parts) * count
    return range(first, first + count)


def places_of_step(module: LightningModule, count: int) -> range:
    """All places in the step that a training batch of ``count`` samples is a part of."""
    return range(place()[1] * _parts(module) * count)


def _parts(module: LightningModule) -> int:
    return int(getattr(module._trainer, "accumulate_grad_batches", 1))


def generators(module: LightningModule, seed: int, index: int, count: int) -> list[Generator]:
    """One for each sample of a training step's batch, on the CPU.

    Without a Trainer, which counts the steps, torch's global generator seeds them.
    """
    if module._trainer is None:
        words = torch.randint(2**32, (count,)).tolist()
        return [Generator().manual_seed(word) for word in words]
    return generators_at(module, seed, places(module, index, count))


def generators_at(module: LightningModule, seed: int, at: range) -> list[Generator]:
    """Those of the samples at the places ``at`` in the current step, which a Trainer counts."""
    # The first words are the same however many are asked for.
    sequence = np.random.SeedSequence([seed, module.global_step])
    words = sequence.generate_state(at.stop)[at.start :].tolist()
    return [Generator().manual_seed(word) for word in words]


def drawn(
    by: Sequence[Generator], draw: Callable[[Generator], Tensor], device: torch.device
) -> Tensor:
    """What ``draw`` gives for each sample, stacked, on ``device``."""
    return torch.stack([draw(generator) for generator in by]).to(device)
