"""Tensors of a nested batch, one after the other, and their bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_bytes", "tensors"]


def tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor in nested mappings, lists and tuples, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors(value)


def as_bytes(tensor: Tensor) -> Any:
    """The tensor's bytes in order, as a NumPy array; no copy where it lies on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
