"""Images at the size and in the range that a checkpoint takes."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dyt_images.folders import ClassFolders, Photographs
from dyt_pretrained.checkpoint import Checkpoint

_PIXELS = 224  # a side, where the checkpoint does not say
_HELD = 2**28  # bytes of images up to which all are decoded once
_HALF = [0.5, 0.5, 0.5]
NEW_DIGITS = 5  # the digits from it on are the example's data; its ViT learns those below
# Pixels a side of the example's images. A digit of eight lies anywhere in them: where a pixel says
# little about a class, as in photographs, a linear classifier of pixels is no match for a model.
FIELD = 16

Batch = tuple[dict[str, Tensor], Tensor]


class Held(Dataset[tuple[Tensor, int]]):
    """``(image (3, S, S), label)``, in memory."""

    def __init__(self, images: Sequence[Tensor], labels: Sequence[int]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]


def transform(found: Checkpoint) -> Any:
    """PIL image -> float tensor (3, S, S), as the checkpoint's own preprocessing has it."""
    mean, std = _statistics(found)
    side = found.pixels or _PIXELS
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((side, side), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )


def _statistics(found: Checkpoint) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the colours, of the checkpoint's processor."""
    if found.library == "timm":
        own = found.config.get("pretrained_cfg") or found.config
        return list(own.get("mean", _HALF)), list(own.get("std", _HALF))
    file = found.folder / "preprocessor_config.json"
    own = json.loads(file.read_text()) if file.exists() else {}
    return own.get("image_mean", _HALF), own.get("image_std", _HALF)


def images_of(folders: ClassFolders, found: Checkpoint) -> Dataset[Any]:
    """The images; decoded once where they fit into memory."""
    read = Photographs(folders, transform(found))
    side = found.pixels or _PIXELS
    if len(read) * 3 * side * side * 4 > _HELD:
        return read
    return Held([read[index][0] for index in range(len(read))], folders.labels)


def digit_scans(*, new: bool) -> tuple[NDArray[np.uint8], list[int]]:
    """scikit-learn's digits (N, 8, 8): 5 to 9, or those that the example's ViT learns."""
    digits = load_digits()
    chosen = (digits.target >= NEW_DIGITS) == new
    pixels = (digits.images[chosen] * (255 / 16)).round().astype("uint8")
    labels = digits.target[chosen] - (NEW_DIGITS if new else 0)
    return pixels, labels.tolist()


def digit_images() -> tuple[list[Any], list[int]]:
    """The digits 5 to 9 as PIL images, each anywhere in a dark field, always in the same place."""
    from PIL import Image

    scans, labels = digit_scans(new=True)
    corners = np.random.default_rng(0).integers(FIELD - scans.shape[1] + 1, size=(len(scans), 2))
    images = []
    for scan, (row, column) in zip(scans, corners, strict=True):
        field = np.zeros((FIELD, FIELD), dtype="uint8")
        field[row : row + len(scan), column : column + len(scan)] = scan
        images.append(Image.fromarray(field).convert("RGB"))
    return images, labels


def held_digits(found: Checkpoint) -> tuple[Held, list[str]]:
    """The images of `digit_images`, and the names of their classes."""
    images, labels = digit_images()
    fit = transform(found)
    return Held([fit(image) for image in images], labels), [str(n) for n in range(NEW_DIGITS, 10)]


def stacked(samples: Sequence[tuple[Tensor, int]]) -> Batch:
    """A batch: ``pixel_values`` (B, 3, S, S), and the labels (B,)."""
    images, labels = zip(*samples, strict=True)
    return {"pixel_values": torch.stack(images)}, torch.tensor(labels)
