"""The tensors in a nested batch or output, in order, and their bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_bytes", "tensors"]


def tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor in nested mappings, lists, tuples and objects' attributes, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors(value)
    elif hasattr(batch, "__dict__"):
        yield from tensors(vars(batch))


def as_bytes(tensor: Tensor) -> Any:
    """The tensor's bytes in order, as a NumPy array; no copy where it lies on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
