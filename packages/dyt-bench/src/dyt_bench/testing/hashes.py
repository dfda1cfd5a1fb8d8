"""Hashes of batches and of the samples in them. Needs torch."""

import hashlib
from collections.abc import Iterator
from typing import Any

from dyt_bench.plugin.batches import as_bytes, tensors


def digest(batch: Any) -> str:
    """A hash of every tensor of a nested batch: shape, dtype and bytes."""
    total = hashlib.sha256()
    for tensor in tensors(batch):
        total.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(as_bytes(tensor))
    return total.hexdigest()


def samples(batch: Any) -> Iterator[str]:
    """A hash for each sample: of its row in every tensor that has a row a sample."""
    found = [tensor for tensor in tensors(batch) if tensor.dim()]
    if not found:
        return
    size = len(found[0])
    rows = [tensor for tensor in found if len(tensor) == size]
    for index in range(size):
        yield digest([tensor[index] for tensor in rows])
