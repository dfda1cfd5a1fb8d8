"""Bring images in memory to the size that a model takes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.transforms.v2 import functional

_FRAME = 4  # pixels that may be added around an image


def resized(values: NDArray[np.uint8], levels: int, pixels: int) -> Tensor:
    """Images at ``pixels`` a side.

    Args:
        values: (N, C, H, W) in 0..levels-1.
        levels: how many values a pixel can have.
        pixels: a side.

    Returns:
        (N, C, pixels, pixels): uint8 of 256 levels; float32 in [-1, 1] of fewer, because uint8
        has no room between them.
    """
    images = torch.from_numpy(values)
    if levels == 256:
        return fit(images, pixels)
    images = images.float() / ((levels - 1) / 2) - 1
    return interpolate(images, size=pixels, mode="bilinear", antialias=True)


def fit(images: Tensor, pixels: int) -> Tensor:
    """uint8 images at ``pixels`` a side: in a black frame where that is enough, else resampled."""
    missing = pixels - images.shape[-1]
    if 0 <= missing <= _FRAME:
        left, right = missing // 2, missing - missing // 2
        return pad(images, (left, right, left, right))
    resampled: Tensor = functional.resize(images, [pixels, pixels], antialias=True)
    return resampled
