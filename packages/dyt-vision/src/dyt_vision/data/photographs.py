"""Images in files, one folder for each class: checked, decoded, augmented."""

import os
from pathlib import Path
from typing import Any

import torch
from timm.data.transforms_factory import create_transform
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dyt_bench.plugin.domain import TrainingPreset
from dyt_images.folders import check_headers, class_folders, decode, train_and_val
from dyt_vision.data.memory import InMemory, Samples

IN_MEMORY = 32  # pixels a side up to which every image is decoded once and kept
_MOST_WORKERS = 8


def read_folder(path: Path, pixels: int, preset: TrainingPreset) -> Samples:
    """``path/CLASS/IMAGE``, not divided.

    Raises:
        DataError: there are no class folders, or a file is no image.
    """
    return _read(path, path, pixels, preset)


def read_imagenet(path: Path, pixels: int, preset: TrainingPreset) -> Samples:
    """``path/train/CLASS/IMAGE`` and ``path/val/CLASS/IMAGE``.

    Raises:
        DataError: as `read_folder` does; or the two have not the same classes.
    """
    train, val = train_and_val(path)
    return _read(train, val, pixels, preset)


def _read(train: Path, val: Path, pixels: int, preset: TrainingPreset) -> Samples:
    divided = val != train
    if pixels <= IN_MEMORY:
        held, classes = _held(train, pixels)
        held_val = _held(val, pixels)[0] if divided else held
        return Samples(held, held_val, (held.labels, held_val.labels), classes, 3, divided)
    training = class_folders(train, augmented(pixels, preset))
    validation = class_folders(val, resized_and_cropped(pixels))
    for folder in (training, validation) if divided else (training,):
        check_headers([file for file, _ in folder.samples])
    return Samples(
        training,
        validation,
        (training.targets, validation.targets),
        training.classes,
        channels=3,
        divided=divided,
        workers=min(_MOST_WORKERS, os.cpu_count() or 1),
    )


def _held(path: Path, pixels: int) -> tuple[InMemory, list[str]]:
    folder: ImageFolder = class_folders(path)
    images = decode([file for file, _ in folder.samples], pixels)
    return InMemory(torch.from_numpy(images), folder.targets), folder.classes


def resized_and_cropped(pixels: int) -> Any:
    """PIL image -> float tensor (3, pixels, pixels) in [-1, 1], of its middle seven eighths."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(round(pixels / 0.875), antialias=True),
            v2.CenterCrop(pixels),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
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
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
