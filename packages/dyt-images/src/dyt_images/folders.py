"""Read image files, one folder for each class."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dyt_bench.plugin.domain import DataError

# What Pillow raises for what it cannot decode, by format.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def class_folders(path: Path, transform: Callable[[Image.Image], Any] | None = None) -> ImageFolder:
    """The images ``path/CLASS/IMAGE``, decoded by `open_image` when they are indexed.

    Raises:
        DataError: ``path`` has no folder, or one without images.
    """
    try:
        return ImageFolder(path, transform, loader=open_image)
    except OSError as error:
        raise DataError(
            f"{path}: {error}; put each class's images into a folder of its own"
        ) from None


def train_and_val(path: Path) -> tuple[Path, Path]:
    """The folders ``train`` and ``val`` of ImageNet's layout.

    Raises:
        DataError: one is missing, or their classes are not the same.
    """
    parts = path / "train", path / "val"
    try:
        train, val = ({each.name for each in part.iterdir() if each.is_dir()} for part in parts)
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; expected CLASS/IMAGE there") from None
    if alone := sorted(train ^ val):
        raise DataError(
            f"{path}: train and val must have the same classes, and {alone[0]!r} is in one alone"
        )
    return parts


def open_image(file: str | Path) -> Image.Image:
    """The image in RGB.

    Raises:
        DataError: the file is no image, is cut off, or has more than 8 bits a colour.
    """
    try:
        with Image.open(file) as image:
            # Pillow would cut off further bits, not scale.
            return _of_8_bits(image, file).convert("RGB")
    except DataError:
        raise
    except _UNREADABLE as error:
        raise _unreadable(file, error) from None


def check_headers(files: Sequence[str]) -> None:
    """Read every file's header: in a second for thousands of them.

    Raises:
        DataError: one is no image. What is cut off later shows when it is decoded.
    """
    for file in files:
        try:
            with Image.open(file) as image:
                _of_8_bits(image, file).verify()
        except DataError:
            raise
        except _UNREADABLE as error:
            raise _unreadable(file, error) from None


def decode(files: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Image files -> (N, 3, size, size) uint8: the shorter side resized, the centre cropped.

    Raises:
        DataError: as `open_image` does.
    """
    fit = v2.Compose([v2.PILToTensor(), v2.Resize(size, antialias=True), v2.CenterCrop(size)])

    def one(file: str) -> NDArray[np.uint8]:
        pixels: Tensor = fit(open_image(file))
        return pixels.numpy()

    # Threads, because Pillow decodes without Python's lock, and errors come through as they are.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(one, files)))


def _of_8_bits(image: Image.Image, file: str | Path) -> Image.Image:
    if image.mode[0] in "IF":
        raise DataError(f"{file} has more than 8 bits a colour: convert it")
    return image


def _unreadable(file: str | Path, error: BaseException) -> DataError:
    return DataError(f"{file} cannot be read as an image: {error}; fix or remove it")
