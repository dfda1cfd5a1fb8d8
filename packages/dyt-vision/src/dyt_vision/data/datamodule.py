"""The data module of vision: which reader, which split, which batches."""

from collections.abc import Callable, Sequence
from functools import partial

from torch.utils.data import Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, TrainingPreset, quoted
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task
from dyt_images.folders import check_split, read_folder, read_train_and_val
from dyt_images.read import READERS
from dyt_images.split import held_out
from dyt_vision.catalog import DATASETS
from dyt_vision.data.memory import Samples, in_memory
from dyt_vision.data.photographs import samples
from dyt_vision.models import ARCHITECTURES

_LEAST_PER_CLASS = 2  # images: one to train on, one to hold out


CheckSplit = Callable[[Sequence[int], Sequence[int]], None]


def _unchecked(train: Sequence[int], val: Sequence[int]) -> None:
    """Of sets as they are published."""


class VisionData(SeededDataModule):
    """Batches ``(images (B, C, S, S) float in [-1, 1], labels (B,) int64)``.

    Attributes:
        labels: of the training set and of the validation set.
        channels: C.
        pixels: S.
        classes: how many there are.

    Args:
        check: raises DataError for a split (indices to train on, indices held out) that has the
            same images on both sides.

    Raises:
        DataError: there is but one class, a class has too few images to hold one out, or there
            are fewer than a batch.
    """

    def __init__(self, samples: Samples, task: Task, check: CheckSplit = _unchecked) -> None:
        train, val, self.labels = samples.train, samples.val, samples.labels
        if len(samples.classes) < 2:
            raise DataError(
                f"{task.path or task.dataset}: one class alone, {quoted(samples.classes[0])}: "
                "expected two or more, because whatever a model learns, it would always be right"
            )
        if not samples.divided:
            chosen, rest = held_out(
                samples.labels[0],
                samples.classes,
                least=_LEAST_PER_CLASS,
                source=task.path or task.dataset,
            )
            check(chosen, rest)
            train, val = Subset(train, chosen), Subset(val, rest)
            labels = samples.labels[0]
            self.labels = [labels[i] for i in chosen], [labels[i] for i in rest]
        super().__init__(
            at_most(train, task.train_samples),
            val,
            batch_size=task.batch_size,
            seed=task.seed,
            num_workers=samples.workers,
        )
        self.channels, self.pixels = samples.channels, samples.pixels
        self.classes = len(samples.classes)


def vision_data(task: Task, preset: TrainingPreset) -> VisionData:
    """The data module of ``task.dataset``, at the size that ``task.model`` takes.

    Raises:
        DataError: a file is no image, the folders are not laid out as they must be, or a class
            has too few images to hold one out.
    """
    pixels = ARCHITECTURES[task.model].pixels
    files = list(DATASETS[task.dataset].files(task.path))
    if task.dataset in READERS:
        return VisionData(in_memory(READERS[task.dataset](files), pixels), task)
    assert task.path is not None  # or `files` has raised
    key = task.data_digest or digest_files(files, task.path)
    if task.dataset == "imagenet":
        train, val = read_train_and_val(task.path, files, key, skip=task.skip_bad_files)
        return VisionData(samples(train, val, pixels, preset), task)
    found = read_folder(task.path, files, key, skip=task.skip_bad_files)
    check = partial(check_split, found, source=task.path)
    return VisionData(samples(found, found, pixels, preset), task, check)
