"""The image sets of diffusion by name: read, divided, as pixels or as latents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.domain import entry
from dyt_bench.plugin.files import digest_files
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
_LEAST_PER_CLASS = 5  # so that a fifth of every class is at least one image
_NEVER_MIRRORED = {"digits", "mnist-5k"}  # a mirrored 3 is no 3


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Samples ``(image (channels, size, size) float, label)``: to train on, and held out."""

    train: Dataset[Any]  # as it is trained on
    # The same, not mirrored, and never a part of it: what is fitted to it compares between budgets.
    plain: Dataset[Any]
    val: Dataset[Any]  # held out
    class_names: Sequence[str]  # by label
    key: str = ""  # digest of all that decides ``plain``
    levels: int = 256  # how many values a pixel can have
    autoencoder: Autoencoder | None = None  # of latents; None for pixels


def read(
    dataset: str, path: Path | None, *, flip: float = 0.0, skip: bool = False, digest: str = ""
) -> Sets:
    """The sets of ``dataset``; the arguments are those of `DiffusionData`."""
    files = list(entry(DATASETS, dataset, "dataset").files(path))
    key = digest or digest_files(files, path)
    if dataset in READERS:
        flip = 0.0 if dataset in _NEVER_MIRRORED else flip
        return _of_pixels(READERS[dataset](files), dataset, key, flip)
    assert path is not None  # or `files` has raised
    return _OF_PATHS[dataset](files, path, key, flip, skip)


def _of_pixels(
    images: ImageSet,
    source: Path | str,
    key: str,
    flip: float,
    found: ClassFolders | None = None,
) -> Sets:
    """The set's own split; a fifth is held out of one that has none.

    Args:
        found: the files of the images, where they are the user's.
    """
    pixels = partial(Pixels, levels=images.levels)
    all_of = images.train
    train, plain = (pixels(all_of.values, all_of.labels, flip=chance) for chance in (flip, 0.0))
    made = partial(Sets, class_names=images.classes, key=key, levels=images.levels)
    if images.val is not None:
        return made(train=train, plain=plain, val=pixels(images.val.values, images.val.labels))
    chosen, rest = held_out(all_of.labels, images.classes, least=_LEAST_PER_CLASS, source=source)
    if found is not None:
        check_split(found, chosen, rest, source)
    return made(train=Subset(train, chosen), plain=Subset(plain, chosen), val=Subset(plain, rest))


def _folder(files: list[Path], path: Path, key: str, flip: float, skip: bool) -> Sets:
    found = read_folder(path, files, key, skip=skip)
    images = Images(decoded(found, FOLDER_SIZE, key), found.labels)
    return _of_pixels(ImageSet(images, None, found.classes), path, key, flip, found)


def _imagenet(files: list[Path], path: Path, key: str, flip: float, skip: bool) -> Sets:
    train, val = read_train_and_val(path, files, key, skip=skip)
    autoencoder = Autoencoder(path / "vae")
    moments, val_moments = (
        _moments(autoencoder, found, f"{part}-{key}")
        for part, found in (("train", train), ("val", val))
    )
    scale = autoencoder.scale
    return Sets(
        train=Latents(moments, train.labels, scale, flip=flip, draw=True),
        plain=Latents(moments, train.labels, scale),
        val=Latents(val_moments, val.labels, scale),
        class_names=train.classes,
        key=key,
        autoencoder=autoencoder,
    )


def _moments(autoencoder: Autoencoder, found: ClassFolders, name: str) -> NDArray[Any]:
    def images(start: int, stop: int) -> NDArray[np.uint8]:
        return decode(found.files[start:stop], LATENT_OF)

    return autoencoder.moments(name, images, len(found.files), LATENT_OF)


_OF_PATHS: Mapping[str, Callable[[list[Path], Path, str, float, bool], Sets]] = {
    "folder": _folder,
    "imagenet": _imagenet,
}
