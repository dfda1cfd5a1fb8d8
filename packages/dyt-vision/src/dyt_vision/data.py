"""The data module: who reads which data set, the split, the batches."""

from collections import Counter
from typing import Any

from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, TrainingPreset
from dyt_bench.plugin.task import Task
from dyt_vision import photographs
from dyt_vision.catalog import DATASETS
from dyt_vision.memory import READERS, Images
from dyt_vision.models import MODELS

VAL_SHARE = 0.2  # of a data set that has no validation set of its own
SPLIT_SEED = 0  # one split for every seed: seeds vary the training, not the question


class ImageData(SeededDataModule):
    """Batches ``(images (B, C, S, S) float in [-1, 1], labels (B,) int64)``.

    ``targets`` are the labels of the training and of the validation set.

    Raises:
        DataError: a class has too few images to hold one out.
    """

    def __init__(self, images: Images, task: Task) -> None:
        train, val = images.train, images.val
        self.targets: tuple[list[int], list[int]] = (_targets(train), _targets(val))
        if not images.divided:
            chosen = held_out(task, self.targets[0], images.classes)
            train, val = (Subset(part, c) for part, c in zip((train, val), chosen, strict=True))
            self.targets = tuple([self.targets[0][i] for i in c] for c in chosen)  # type: ignore[assignment]
        super().__init__(
            at_most(train, task.train_samples),
            val,
            batch_size=task.batch_size,
            seed=task.seed,
            num_workers=photographs.workers(MODELS[task.model].pixels)
            if task.dataset not in READERS
            else 0,
        )
        self.channels, self.classes = images.channels, len(images.classes)

    def majority(self) -> float:
        """Share of the validation set in the class that is most frequent in training."""
        train, val = self.targets
        ((frequent, _),) = Counter(train).most_common(1)
        return val.count(frequent) / len(val)


def image_data(task: Task, recipe: TrainingPreset) -> ImageData:
    """The data module of ``task.dataset``, at the size that ``task.model`` takes.

    Raises:
        DataError: a file is no image, the folders are not laid out as they must be, or a class
            has too few images to hold one out.
    """
    pixels = MODELS[task.model].pixels
    if task.dataset in READERS:
        files = list(DATASETS[task.dataset].files(task.path))
        return ImageData(READERS[task.dataset](files, pixels), task)
    assert task.path is not None  # the harness has asked for it
    read = {"imagenet": photographs.read_imagenet, "folder": photographs.read_folder}
    return ImageData(read[task.dataset](task.path, pixels, recipe), task)


def held_out(task: Task, targets: list[int], classes: list[str]) -> tuple[list[int], list[int]]:
    """Indices to train on and to validate on, the same share of every class."""
    counts = Counter(targets)
    for label, name in enumerate(classes):
        if counts[label] < 2:
            raise DataError(
                f"{task.path or task.dataset}: class {name!r} has {counts[label]} image: expected "
                "at least two, to train on one and hold out another"
            )
    if round(VAL_SHARE * len(targets)) < len(classes):
        raise DataError(
            f"{task.path or task.dataset}: {len(targets)} images in {len(classes)} classes are too "
            f"few: expected five for each class, to hold out a fifth"
        )
    train, val = train_test_split(
        range(len(targets)), test_size=VAL_SHARE, stratify=targets, random_state=SPLIT_SEED
    )
    return train, val


def _targets(samples: Dataset[Any]) -> list[int]:
    targets: list[int] = samples.targets  # type: ignore[attr-defined]  # Pixels and ImageFolder
    return targets
