"""Sets that fit in memory: decoded once, and kept at the size that the model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dyt_images.arrays import Images, ImageSet
from dyt_images.resize import resized


class InMemory(Dataset[tuple[Tensor, int]]):
    """``(image (C, S, S) float in [-1, 1], label)``.

    Args:
        images: (N, C, S, S), float in [-1, 1] or uint8.
        labels: (N,).
    """

    def __init__(self, images: Tensor, labels: Sequence[int]) -> None:
        self.images, self.labels = images, list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if image.dtype == torch.uint8:
            image = image.float() / 127.5 - 1
        return image, self.labels[index]


@dataclass(frozen=True)
class Samples:
    """A data set, divided by its makers; or else twice the same images, still to be divided."""

    train: Dataset[Any]
    val: Dataset[Any]
    labels: tuple[list[int], list[int]]  # of train and val
    classes: list[str]
    channels: int
    pixels: int  # a side
    divided: bool
    workers: int = 0  # processes that decode


def in_memory(images: ImageSet, pixels: int | None) -> Samples:
    """The samples of a set in memory, ``pixels`` a side; None: as many as they have."""
    side = pixels or images.train.values.shape[-1]

    def held(part: Images) -> InMemory:
        return InMemory(resized(part.values, images.levels, side), part.labels)

    train = held(images.train)
    val = train if images.val is None else held(images.val)
    return Samples(
        train,
        val,
        (train.labels, val.labels),
        images.classes,
        images.channels,
        side,
        divided=images.val is not None,
    )
