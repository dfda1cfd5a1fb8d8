"""How many samples go through the model at once: what a task says, or what the memory holds."""

import gc
from collections.abc import Iterator
from itertools import islice

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningDataModule

from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.data import SeededDataModule, place
from dyt_bench.plugin.parts import Parts
from dyt_bench.training.build import build, with_logging_off
from dyt_bench.training.device import autocast, device_to_use
from dyt_bench.training.step import optimizer_of, step
from dyt_bench.training.together import least_of


def divide(data: LightningDataModule, parts: Parts) -> int:
    """Have each process load its part of a batch; in how many micro-batches, is returned.

    Raises:
        DataError: the parts are not equal, or ``data`` cannot divide batches.
        UserError: not one sample fits into the memory.
    """
    task = parts.task
    if task.processes == 1 and task.micro_batch is None:
        return 1
    if not isinstance(data, SeededDataModule):
        raise DataError(
            "devices and micro_batch need a dyt_bench.plugin.data.SeededDataModule, which divides "
            f"batches, got a {type(data).__name__}"
        )
    micro = task.micro_batch
    data.micro_batch = largest(parts) if micro == "auto" else micro
    return data.parts()


def largest(parts: Parts) -> int:
    """The most samples at once with which every process can make a step, found by halving.

    Raises:
        UserError: not one sample fits.
    """
    part = parts.task.batch_size // place()[1]
    found = next((size for size in halved(part) if fits(parts, size)), 0)
    found = least_of(found)
    if not found:
        raise UserError(
            "micro_batch: auto found no size that fits: not one sample of "
            f"{parts.task.label} goes through the model in this memory; take a smaller model"
        )
    print(f"micro_batch: auto takes {found} of a process's {part} samples at once", flush=True)
    return found


def halved(part: int) -> Iterator[int]:
    """``part``, and ever smaller divisors of it, each at most half of the one before."""
    size = part
    while size:
        yield size
        size = next((n for n in range(size // 2, 0, -1) if part % n == 0), 0)


def fits(parts: Parts, size: int) -> bool:
    """Whether a model of its own makes a step, optimiser included, with so many samples."""
    try:
        _step(parts, size)
    except torch.OutOfMemoryError:
        return False
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what a CPU's allocator says
            raise
        return False
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _step(parts: Parts, size: int) -> None:
    data, module, _ = build(parts)
    assert isinstance(data, SeededDataModule)
    device, preset = device_to_use(), parts.domain.training(parts.task)
    module.to(device).train()
    with_logging_off(module)
    data.micro_batch = size
    data.prepare_data()
    data.setup("fit")
    (batch,) = islice(data.train_dataloader(), 1)
    in_precision = autocast(preset, device)
    step(module, move_data_to_device(batch, device), optimizer_of(module), preset, in_precision)
