"""Pixels of small images, held in memory or mapped from the cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dyt_bench.plugin.derived import derived_array
from dyt_bench.plugin.task import digest
from dyt_images.folders import ClassFolders, decode


class Pixels(Dataset[tuple[Tensor, Tensor]]):
    """``(image (C, H, W) float in [-1, 1], label int64)``, mirrored by the chance ``flip``.

    Args:
        values: (N, C, H, W) uint8 in 0..levels-1; may be memory-mapped.
        labels: (N,).
        levels: how many values a pixel can have.
        flip: drawn from torch's global generator.
    """

    def __init__(
        self,
        values: NDArray[np.uint8],
        labels: Sequence[int],
        *,
        levels: int = 256,
        flip: float = 0.0,
    ) -> None:
        self.values, self.levels, self.flip = values, levels, flip
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """A batch at once, as torch's loader asks for it."""
        images = torch.from_numpy(self.values[indices]).float() * (2 / (self.levels - 1)) - 1
        if self.flip:
            mirrored = torch.rand(len(indices)) < self.flip
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        return list(zip(images, self.labels[indices], strict=True))


def decoded(found: ClassFolders, size: int, key: str) -> NDArray[Any]:
    """The folder's images, (N, 3, size, size) uint8, decoded once and kept in the cache.

    Args:
        found: the folder.
        size: pixels a side.
        key: digest of the folder's files.

    Raises:
        DataError: a file is no image, or the cache has no room.
    """

    def rows(start: int, stop: int) -> NDArray[np.uint8]:
        return decode(found.files[start:stop], size)

    name = f"diffusion/images-{digest(key, size, len(found.files))}.npy"
    return derived_array(name, (len(found.files), 3, size, size), "uint8", rows)
