"""Which device computes, in which precision, and how the layers are called there."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

import dyt
from dyt_bench.plugin.domain import TrainingPreset


def device_to_use() -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def device_class(device: torch.device) -> str:
    """``cpu``, or the GPU's model: only runs of one class are compared."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(
    preset: TrainingPreset, device: torch.device
) -> Callable[[], AbstractContextManager[object]]:
    """The context that a forward pass runs in, for the preset's precision."""
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if preset.precision not in dtypes:
        return nullcontext
    return lambda: torch.autocast(device.type, dtypes[preset.precision])


def bind() -> str:
    """Bind the layers on a CPU (`dyt.bind`); returns how they are called, for the record."""
    if device_to_use().type != "cpu":
        return "not on this device"
    reason = dyt.bind()
    return f"none: {reason}" if reason else "compiled"
