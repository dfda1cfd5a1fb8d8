"""What a reader returns: images of one size in memory, with their labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Images and their labels.

    Attributes:
        values: (N, C, H, W) uint8 in 0..levels-1.
        labels: N places in the set's ``classes``.
    """

    values: NDArray[np.uint8]
    labels: list[int]


@dataclass(frozen=True)
class ImageSet:
    """A data set in memory.

    Attributes:
        train: what is trained on; all images, where the set's makers have not divided it.
        val: what they hold out; None where they have not divided it.
        classes: their names, by label.
        levels: how many values a pixel can have.
    """

    train: Images
    val: Images | None
    classes: list[str]
    levels: int = 256

    @property
    def channels(self) -> int:
        return int(self.train.values.shape[1])
