"""Images in files: decoded and augmented."""

import os
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.transforms_factory import create_transform
from torchvision.transforms import v2

from dyt_bench.plugin.domain import TrainingPreset
from dyt_images.folders import ClassFolders, Photographs, decode
from dyt_vision.data.memory import InMemory, Samples

IN_MEMORY = 32  # pixels a side up to which every image is decoded once and kept
OWN = 32  # pixels a side for models that take any: photographs have no size in common
_MOST_WORKERS = 8


def samples(
    train: ClassFolders, val: ClassFolders, side: int | None, preset: TrainingPreset
) -> Samples:
    """Images to train on and to validate on.

    Args:
        side: pixels of it; None: 32.
        val: the same as ``train`` where the data set is not divided.
    """
    divided, pixels = val is not train, side or OWN
    labels = train.labels, val.labels
    if pixels <= IN_MEMORY:
        held = _held(train, pixels)
        held_val = _held(val, pixels) if divided else held
        return Samples(held, held_val, labels, train.classes, 3, pixels, divided=divided)
    return Samples(
        Photographs(train, augmented(pixels, preset)),
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


def augmented(pixels: int, preset: TrainingPreset) -> Any:
    """As the preset's ``auto_augment`` (timm's notation) and ``random_erase`` (share) say."""
    if "auto_augment" not in preset.options:
        return resized_and_cropped(pixels)
    return create_transform(
        pixels,
        is_training=True,
        auto_augment=str(preset.options["auto_augment"]),
        re_prob=float(preset.options.get("random_erase", 0.0)),
        re_mode="pixel",
        interpolation="bicubic",
    )
