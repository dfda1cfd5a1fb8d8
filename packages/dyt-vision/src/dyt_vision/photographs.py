"""Images in files, one folder a class: checked, decoded, augmented."""

import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from timm.data import create_transform
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dyt_bench.plugin.domain import DataError, TrainingPreset
from dyt_vision.memory import Images, Pixels

IN_MEMORY = 32  # pixels a side up to which every image is decoded once and kept
_UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError)  # Pillow raises them all


def read_folder(path: Path, pixels: int, recipe: TrainingPreset) -> Images:
    """``path/CLASS/IMAGE``, one part for training and validation."""
    return _read(path, path, pixels, recipe)


def read_imagenet(path: Path, pixels: int, recipe: TrainingPreset) -> Images:
    """``path/train/CLASS/IMAGE`` and ``path/val/CLASS/IMAGE``.

    Raises:
        DataError: the two have not the same classes.
    """
    train, val = path / "train", path / "val"
    classes = [{entry.name for entry in part.iterdir() if entry.is_dir()} for part in (train, val)]
    for only in sorted(classes[0] ^ classes[1]):
        raise DataError(f"{path}: class {only!r} is in one of train and val alone")
    return _read(train, val, pixels, recipe)


def _read(train: Path, val: Path, pixels: int, recipe: TrainingPreset) -> Images:
    divided, plain = val != train, _resized(pixels)
    if pixels <= IN_MEMORY:
        folder = _folder(train, plain)
        held = _decoded(folder)
        held_val = _decoded(_folder(val, plain)) if divided else held
        return Images(held, held_val, folder.classes, channels=3, divided=divided)
    training, validation = _folder(train, _augmented(pixels, recipe)), _folder(val, plain)
    for folder in (training, validation) if divided else (training,):
        _check(folder)
    return Images(training, validation, training.classes, channels=3, divided=divided)


def workers(pixels: int) -> int:
    """Processes that decode, where images are not in memory."""
    return 0 if pixels <= IN_MEMORY else min(8, os.cpu_count() or 1)


def _resized(pixels: int) -> Any:
    """PIL image -> float tensor in [-1, 1]; of a large one the middle seven eighths."""
    short_side = pixels if pixels <= IN_MEMORY else round(pixels / 0.875)
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(short_side, antialias=True),
            v2.CenterCrop(pixels),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )


def _augmented(pixels: int, recipe: TrainingPreset) -> Any:
    """As the recipe's ``auto_augment`` (timm's notation) and ``random_erase`` (share) say."""
    if "auto_augment" not in recipe.options:
        return _resized(pixels)
    return create_transform(
        pixels,
        is_training=True,
        auto_augment=str(recipe.options["auto_augment"]),
        re_prob=float(recipe.options.get("random_erase", 0.0)),
        re_mode="pixel",
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def _folder(root: Path, transform: Any) -> ImageFolder:
    try:
        return ImageFolder(root, transform, loader=_open)
    except (FileNotFoundError, NotADirectoryError) as error:  # no class folder, or an empty one
        raise DataError(
            f"{root}: {error}; put each class's images into a folder of its own"
        ) from None


def _open(file: str | Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except _UNREADABLE as error:
        raise DataError(f"{file} cannot be read as an image ({error}): mend or remove it") from None


def _decoded(folder: ImageFolder) -> Pixels:
    images = [((image + 1) * 127.5).round().byte() for image, _ in folder]
    return Pixels(torch.stack(images), folder.targets)


def _check(folder: ImageFolder) -> None:
    """Every file's header, before an epoch meets it. What is cut off later shows when decoded."""
    for file, _ in folder.samples:
        try:
            with Image.open(file) as image:
                image.verify()
        except _UNREADABLE as error:
            raise DataError(f"{file} is no image ({error}): mend or remove it") from None
