"""Images in [-1, 1]: scikit-learn's digits at 8x8, or a folder of the user's at 16x16."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_bench.loading import SeededDataModule

FOLDER_SIZE = 16  # pixels a side
VAL_SHARE = 0.2
LEAST_PER_CLASS = 5  # so that a fifth of every class is at least one image
SPLIT_SEED = 0  # one split for every seed: seeds vary the training, not the question


class ImageData(SeededDataModule):
    """Batches ``(images (B, channels, size, size) float in [-1, 1], labels (B,) int64)``."""

    def __init__(
        self,
        samples: Dataset[Any],
        labels: list[int],
        *,
        channels: int,
        size: int,
        classes: int,
        task: Task,
    ) -> None:
        train, val = train_test_split(
            range(len(labels)), test_size=VAL_SHARE, stratify=labels, random_state=SPLIT_SEED
        )
        super().__init__(
            Subset(samples, train),
            Subset(samples, val),
            batch_size=task.batch_size,
            seed=task.seed,
        )
        self.channels, self.size, self.classes = channels, size, classes


def image_data(task: Task) -> ImageData:
    """The data module of ``task.dataset``.

    Raises:
        DataError: the folder is not laid out as one folder a class, or a class has fewer than
            five images. A file that is no image is named when it is first read.
    """
    if task.dataset == "digits":
        return _digits(task)
    assert task.path is not None  # the harness has asked for it
    return _folder(task, task.path)


def _digits(task: Task) -> ImageData:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1  # 0..16 -> -1..1
    labels = torch.from_numpy(digits.target).long()
    return ImageData(
        TensorDataset(images, labels), labels.tolist(), channels=1, size=8, classes=10, task=task
    )


def _folder(task: Task, path: Path) -> ImageData:
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(FOLDER_SIZE, antialias=True),
            v2.CenterCrop(FOLDER_SIZE),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    try:
        images = ImageFolder(path, transform, loader=_open)
    except OSError as error:  # no folder, no class folder, or one without images
        raise DataError(
            f"{path}: {error}; put each class's images into a folder of its own"
        ) from error
    counts = Counter(images.targets)
    for label, name in enumerate(images.classes):
        if counts[label] < LEAST_PER_CLASS:
            raise DataError(
                f"{path / name} holds {counts[label]} images: every class needs "
                f"{LEAST_PER_CLASS} or more, because a fifth is held out"
            )
    return ImageData(
        images,
        images.targets,
        channels=3,
        size=FOLDER_SIZE,
        classes=len(images.classes),
        task=task,
    )


def _open(file: str | Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except OSError as error:  # what Pillow raises for anything it cannot decode
        raise DataError(f"{file} cannot be read as an image; mend or remove it") from error
