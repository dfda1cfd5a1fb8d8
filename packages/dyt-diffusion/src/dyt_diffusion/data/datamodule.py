"""The data module of diffusion: images in [-1, 1], or latents of large ones, with their classes.

Each data set is read into arrays once, before training: what cannot be read is named then.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task
from dyt_diffusion.autoencoder import Autoencoder
from dyt_diffusion.catalog import DATASETS
from dyt_diffusion.data.latents import Latents
from dyt_diffusion.data.pixels import Pixels, decoded
from dyt_images.arrays import Images, ImageSet
from dyt_images.folders import (
    ClassFolders,
    check_split,
    decode,
    read_folder,
    read_train_and_val,
)
from dyt_images.read import READERS
from dyt_images.split import held_out

FOLDER_SIZE = 16  # pixels a side
LATENT_OF = 256  # pixels a side of the images that an autoencoder encodes
VAL_MOST = 2000  # images: more tell no more about a loss, and a validation should stay short
_LEAST_PER_CLASS = 5  # so that a fifth of every class is at least one image


class DiffusionData(SeededDataModule):
    """Batches ``(images (B, channels, size, size) float, labels (B,) int64)``.

    Pixels are in [-1, 1]; latents have about unit variance.

    Args:
        train: as it is trained on.
        plain: the same, not mirrored, and never a part of it: what is fitted to it compares
            between budgets.
        val: held out; at most 2,000 of it are used.
        class_names: by label.
        key: digest of all that decides ``plain``.
        levels: how many values a pixel can have.
        autoencoder: of latents; None for pixels.
    """

    def __init__(
        self,
        train: Dataset[Any],
        plain: Dataset[Any],
        val: Dataset[Any],
        *,
        class_names: Sequence[str],
        key: str,
        task: Task,
        levels: int = 256,
        autoencoder: Autoencoder | None = None,
    ) -> None:
        super().__init__(
            at_most(train, task.train_samples),
            at_most(val, VAL_MOST),
            batch_size=task.batch_size,
            seed=task.seed,
        )
        self.plain, self.key = plain, key
        self.class_names, self.classes = list(class_names), len(class_names)
        self.channels, self.size, _ = plain[0][0].shape
        self.levels, self.autoencoder = levels, autoencoder

    def pictures(self, samples: Tensor) -> Tensor:
        """Samples (B, channels, size, size) -> (B, 1 or 3, H, W) in [0, 1], to be looked at."""
        if self.autoencoder is not None:
            samples = self.autoencoder.decode(samples)
        return ((samples + 1) / 2).clamp(0, 1)


def diffusion_data(task: Task, preset: TrainingPreset) -> DiffusionData:
    """The data module of ``task.dataset``.

    The preset's option "flip" is the chance that a training image is mirrored; digits never are.

    Raises:
        DataError: files are missing, cannot be read as images, or are not laid out as they
            should be; or a class has too few of them.
    """
    files = list(DATASETS[task.dataset].files(task.path))
    key = task.data_digest or digest_files(files, task.path)
    flip = float(preset.options.get("flip", 0.0))
    if task.dataset in READERS:
        return _of_pixels(READERS[task.dataset](files), task, key, flip)
    return _OF_PATHS[task.dataset](files, task, key, flip)


def _of_pixels(
    images: ImageSet, task: Task, key: str, flip: float, found: ClassFolders | None = None
) -> DiffusionData:
    """The set's own split; a fifth is held out of one that has none.

    Args:
        found: the files of the images, where they are the user's.
    """
    flip = 0.0 if task.dataset in _NEVER_MIRRORED else flip
    pixels = partial(Pixels, levels=images.levels)
    all_of = images.train
    train, plain = (pixels(all_of.values, all_of.labels, flip=chance) for chance in (flip, 0.0))
    parts: tuple[Dataset[Any], Dataset[Any], Dataset[Any]]
    if images.val is None:
        chosen, rest = held_out(
            all_of.labels,
            images.classes,
            least=_LEAST_PER_CLASS,
            source=task.path or task.dataset,
        )
        if found is not None:
            check_split(found, chosen, rest, task.path)
        parts = Subset(train, chosen), Subset(plain, chosen), Subset(plain, rest)
    else:
        parts = train, plain, pixels(images.val.values, images.val.labels)
    return DiffusionData(
        *parts, class_names=images.classes, key=key, task=task, levels=images.levels
    )


def _folder(files: list[Path], task: Task, key: str, flip: float) -> DiffusionData:
    found = read_folder(_path(task), files, key, skip=task.skip_bad_files)
    images = Images(decoded(found, FOLDER_SIZE, key), found.labels)
    return _of_pixels(ImageSet(images, None, found.classes), task, key, flip, found)


def _imagenet(files: list[Path], task: Task, key: str, flip: float) -> DiffusionData:
    train, val = read_train_and_val(_path(task), files, key, skip=task.skip_bad_files)
    autoencoder = Autoencoder(_path(task) / "vae")
    moments, val_moments = (
        _moments(autoencoder, found, f"{part}-{key}")
        for part, found in (("train", train), ("val", val))
    )
    scale = autoencoder.scale
    return DiffusionData(
        Latents(moments, train.labels, scale, flip=flip, draw=True),
        Latents(moments, train.labels, scale),
        Latents(val_moments, val.labels, scale),
        class_names=train.classes,
        key=key,
        task=task,
        autoencoder=autoencoder,
    )


def _moments(autoencoder: Autoencoder, found: ClassFolders, name: str) -> NDArray[Any]:
    def images(start: int, stop: int) -> NDArray[np.uint8]:
        return decode(found.files[start:stop], LATENT_OF)

    return autoencoder.moments(name, images, len(found.files), LATENT_OF)


def _path(task: Task) -> Path:
    assert task.path is not None  # a data set's `files` has raised
    return task.path


_NEVER_MIRRORED = {"digits", "mnist-5k"}  # a mirrored 3 is no 3
_OF_PATHS: Mapping[str, Callable[[list[Path], Task, str, float], DiffusionData]] = {
    "folder": _folder,
    "imagenet": _imagenet,
}
