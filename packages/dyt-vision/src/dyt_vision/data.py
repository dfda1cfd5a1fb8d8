"""Images in [-1, 1] at 32x32: scikit-learn's digits, or a folder of the user's."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_bench.loading import SeededDataModule

SIZE = 32  # pixels a side
VAL_SHARE = 0.2
SPLIT_SEED = 0  # one split for every seed: seeds vary the training, not the question


class ImageData(SeededDataModule):
    """Batches ``(images (B, C, 32, 32) float in [-1, 1], labels (B,) int64)``."""

    def __init__(
        self, samples: Dataset[Any], labels: list[int], *, channels: int, classes: int, task: Task
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
        self.channels, self.classes = channels, classes


def image_data(task: Task) -> ImageData:
    """The data module of ``task.dataset``."""
    if task.dataset == "digits":
        return _digits(task)
    assert task.path is not None  # the harness has asked for it
    return _folder(task, task.path)


def _digits(task: Task) -> ImageData:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1  # 0..16 -> -1..1
    images = interpolate(images, size=SIZE, mode="bilinear", antialias=True)
    labels = torch.from_numpy(digits.target).long()
    return ImageData(
        TensorDataset(images, labels), labels.tolist(), channels=1, classes=10, task=task
    )


def _folder(task: Task, path: Path) -> ImageData:
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(SIZE, antialias=True),
            v2.CenterCrop(SIZE),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    try:
        images = ImageFolder(path, transform)
    except FileNotFoundError as error:  # no class folder, or one without images
        raise DataError(
            f"{path}: {error}; put each class's images into a folder of its own"
        ) from None
    return ImageData(images, images.targets, channels=3, classes=len(images.classes), task=task)
