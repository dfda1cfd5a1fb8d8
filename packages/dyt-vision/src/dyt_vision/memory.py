"""Data sets that fit in memory: decoded once, held at the size the model takes."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional

from dyt_bench.plugin.domain import DataError

TEN = [str(label) for label in range(10)]


class Pixels(Dataset[tuple[Tensor, Tensor]]):
    """Images (N, C, S, S), float in [-1, 1] or uint8, given out as float with their labels."""

    def __init__(self, images: Tensor, targets: Sequence[int]) -> None:
        self.images, self.targets = images, list(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if image.dtype == torch.uint8:
            image = image.float() / 127.5 - 1
        return image, self.targets[index]


@dataclass(frozen=True)
class Images:
    """A data set, divided by its makers, or else twice the same samples, still to be divided."""

    train: Dataset[Any]
    val: Dataset[Any]
    classes: list[str]
    channels: int
    divided: bool


def _digits(files: list[Path], pixels: int) -> Images:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1  # 0..16 -> -1..1
    images = interpolate(images, size=pixels, mode="bilinear", antialias=True)
    samples = Pixels(images, digits.target.tolist())
    return Images(samples, samples, TEN, channels=1, divided=False)


def _mnist_5k(files: list[Path], pixels: int) -> Images:
    rows = np.loadtxt(files[0], delimiter=",", dtype=np.uint8)
    images = torch.from_numpy(rows[:, :-1].reshape(-1, 1, 28, 28).copy())
    samples = Pixels(fit(images, pixels), rows[:, -1].tolist())
    return Images(samples, samples, TEN, channels=1, divided=False)


def _fashion_mnist(files: list[Path], pixels: int) -> Images:
    named = {file.name: file for file in files}

    def part(name: str) -> Pixels:
        images = torch.from_numpy(read_idx(named[f"{name}-images-idx3-ubyte.gz"]))
        labels = read_idx(named[f"{name}-labels-idx1-ubyte.gz"])
        return Pixels(fit(images.unsqueeze(1), pixels), labels.tolist())

    return Images(part("train"), part("t10k"), TEN, channels=1, divided=True)


def _cifar10(files: list[Path], pixels: int) -> Images:
    root = files[0].parents[1]
    try:
        halves = [CIFAR10(root, train=train) for train in (True, False)]
    except RuntimeError:  # torchvision compares checksums
        raise DataError(
            f"{root}/cifar-10-batches-py is not CIFAR-10, or a file of it is cut off: fetch again"
        ) from None
    train, val = (
        Pixels(fit(torch.from_numpy(half.data).permute(0, 3, 1, 2), pixels), half.targets)
        for half in halves
    )
    return Images(train, val, halves[0].classes, channels=3, divided=True)


# data set -> (its files, pixels a side) -> images
READERS: Mapping[str, Callable[[list[Path], int], Images]] = {
    "digits": _digits,
    "mnist-5k": _mnist_5k,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
}


def fit(images: Tensor, pixels: int) -> Tensor:
    """uint8 images at ``pixels`` a side: in a black frame where that is enough, else resampled."""
    missing = pixels - images.shape[-1]
    if 0 <= missing <= 4:
        left, right = missing // 2, missing - missing // 2
        return pad(images, (left, right, left, right))
    return functional.resize(images, [pixels, pixels], antialias=True)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """An array of bytes in MNIST's gzipped format.

    Two zero bytes, the type (8: bytes), the number of dimensions, each dimension in four bytes
    with the highest first, the values.

    Raises:
        DataError: the file is cut off, or of another format.
    """
    try:
        content = gzip.decompress(file.read_bytes())
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
        if content[:3] != b"\0\0\x08":
            raise ValueError("its first bytes are others")
        return values.reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{file} is not in IDX format, or is cut off ({error})") from None
