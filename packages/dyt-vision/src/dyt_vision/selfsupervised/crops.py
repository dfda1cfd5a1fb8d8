"""Random resized crops of a batch, each from its image's own generator."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

_ASPECT = 3 / 4, 4 / 3  # of width to height


def boxes(by: Sequence[Generator], area: tuple[float, float]) -> Tensor:
    """(B, 4): centre x, y and half width, half height of a crop of each image, which is [-1, 1]^2.

    The share of the area is uniform, and the logarithm of the aspect ratio too, before a crop that
    is wider or higher than the image is cut to it.
    """
    drawn = torch.stack([torch.rand(4, generator=generator) for generator in by])
    share = area[0] + (area[1] - area[0]) * drawn[:, 0]
    low, high = map(math.log, _ASPECT)
    aspect = (low + (high - low) * drawn[:, 1]).exp()
    half = torch.stack([(share * aspect).sqrt(), (share / aspect).sqrt()], dim=1).clamp(max=1)
    return torch.cat([(2 * drawn[:, 2:] - 1) * (1 - half), half], dim=1)


def cropped(images: Tensor, boxes: Tensor, pixels: int) -> Tensor:
    """(B, C, S, S) -> (B, C, pixels, pixels), bilinearly; `boxes` makes the boxes."""
    x, y, wide, high = boxes.to(images.device, images.dtype).T
    zero = torch.zeros_like(x)
    turn = torch.stack([wide, zero, x, zero, high, y], dim=1).view(-1, 2, 3)
    grid = affine_grid(turn, [*images.shape[:2], pixels, pixels], align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)
