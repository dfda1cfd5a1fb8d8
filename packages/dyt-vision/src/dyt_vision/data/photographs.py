"""Images in files: decoded and augmented."""

import os
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.transforms_factory import create_transform
from torchvision.transforms import v2

from dyt_images.folders import ClassFolders, Photographs, decode
from dyt_vision.data.memory import InMemory, Samples

IN_MEMORY = 32  # pixels a side up to which every image is decoded once and kept
OWN = 32  # pixels a side for models that take any: photographs have no size in common
_MOST_WORKERS = 8


def samples(
    train: ClassFolders,
    val: ClassFolders,
    side: int | None,
    *,
    auto_augment: str = "",
    random_erase: float = 0.0,
) -> Samples:
    """Images to train on and to validate on.

    Args:
        side: pixels of it; None: 32.
        val: the same as ``train`` where the data set is not divided.
        auto_augment, random_erase: as in `augmented`, where images stay in their files.
    """
    divided, pixels = val is not train, side or OWN
    labels = train.labels, val.labels
    if pixels <= IN_MEMORY:
        held = _held(train, pixels)
        held_val = _held(val, pixels) if divided else held
        return Samples(held, held_val, labels, train.classes, 3, pixels, divided=divided)
    return Samples(
        Photographs(train, augmented(pixels, auto_augment, random_erase)),
        Photographs(val, resized_and_cropped(pixels)),
        labels,
        train.classes,
        3,
        pixels,
        divided=divided,
        workers=min(_MOST_WORKERS, os.cpu_count() or 1),
    )


def _held(folders: ClassFolders, pixels: int) -> InMemory:
    return InMemory(torch.from_numpy(decode(folders.files, pixels)), folders.labels)


def resized_and_cropped(pixels: int) -> Any:
    """PIL image -> float tensor (3, pixels, pixels) of its middle seven eighths, normalized.

    Resized bicubically, and normalized by ImageNet's mean and standard deviation, as the code of
    arXiv 2503.10622 evaluates (from ConvNeXt's).
    """
    return v2.Compose(
        [
            v2.Resize(int(pixels / 0.875), interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(pixels),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ]
    )


def augmented(pixels: int, auto_augment: str, random_erase: float) -> Any:
    """Of training images.

    Args:
        auto_augment: in timm's notation, "rand-m9-mstd0.5-inc1"; "" changes no image.
        random_erase: share of the images that lose a rectangle.
    """
    if not auto_augment:
        return resized_and_cropped(pixels)
    return create_transform(
        pixels,
        is_training=True,
        auto_augment=auto_augment,
        re_prob=random_erase,
        re_mode="pixel",
        interpolation="bicubic",
    )
