"""The data module of vision: which reader, which split, which batches."""

from torch.utils.data import Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.task import Task
from dyt_images.read import READERS
from dyt_images.split import held_out
from dyt_vision.catalog import DATASETS
from dyt_vision.data.memory import Samples, in_memory
from dyt_vision.data.photographs import read_folder, read_imagenet
from dyt_vision.models import ARCHITECTURES

_LEAST_PER_CLASS = 2  # images: one to train on, one to hold out


class VisionData(SeededDataModule):
    """Batches ``(images (B, C, S, S) float in [-1, 1], labels (B,) int64)``.

    Attributes:
        labels: of the training set and of the validation set.
        channels: C.
        classes: how many there are.

    Raises:
        DataError: a class has too few images to hold one out, or there are fewer than a batch.
    """

    def __init__(self, samples: Samples, task: Task) -> None:
        train, val, self.labels = samples.train, samples.val, samples.labels
        if not samples.divided:
            chosen, rest = held_out(
                samples.labels[0],
                samples.classes,
                least=_LEAST_PER_CLASS,
                source=task.path or task.dataset,
            )
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
        self.channels, self.classes = samples.channels, len(samples.classes)


def vision_data(task: Task, preset: TrainingPreset) -> VisionData:
    """The data module of ``task.dataset``, at the size that ``task.model`` takes.

    Raises:
        DataError: a file is no image, the folders are not laid out as they must be, or a class
            has too few images to hold one out.
    """
    pixels = ARCHITECTURES[task.model].pixels
    if task.dataset in READERS:
        files = list(DATASETS[task.dataset].files(task.path))
        return VisionData(in_memory(READERS[task.dataset](files), pixels), task)
    assert task.path is not None  # the harness has asked for it
    read = {"imagenet": read_imagenet, "folder": read_folder}[task.dataset]
    return VisionData(read(task.path, pixels, preset), task)
