"""Image files in class folders: which class each is of, and whether all of them can be read."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError, listed, quoted
from dyt_bench.plugin.files import is_ignored
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import check_apart, read_each
from dyt_bench.plugin.task import digest
from dyt_images.files import IMAGE_SUFFIXES, imagenet_root
from dyt_images.ground_truth import classes_in_val
from dyt_images.opener import check_image, checking, open_image

_FORMAT = 1  # of derived files; raise it when their content changes
_TRAIN = {"train", "training"}
_HELD_OUT = {"val", "valid", "validation", "dev", "test", "testing", "eval"}


@dataclass(frozen=True)
class ClassFolders:
    """Image files with their classes; every file can be read.

    Attributes:
        files: their paths.
        labels: places in ``classes``.
        classes: the folders' names, sorted.
        contents: a hash of each file's pixels.
    """

    files: list[str]
    labels: list[int]
    classes: list[str]
    contents: list[str]

    def part(self, which: slice) -> "ClassFolders":
        return ClassFolders(
            self.files[which], self.labels[which], self.classes, self.contents[which]
        )


class Photographs(Dataset[tuple[Any, int]]):
    """``(transform(image), label)``, decoded by `open_image` when it is indexed."""

    def __init__(self, folders: ClassFolders, transform: Callable[[Any], Any]) -> None:
        self.folders, self.transform = folders, transform

    def __len__(self) -> int:
        return len(self.folders.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = open_image(self.folders.files[index])
        return self.transform(image), self.folders.labels[index]


def read_folder(root: Path, files: Iterable[Path], key: str, *, skip: bool) -> ClassFolders:
    """The images ``root/CLASS/IMAGE``, or ``root/CLASS/ANY/IMAGE``.

    Args:
        files: those below the root that the data set has.
        key: a digest of them.
        skip: leave out files that cannot be read; else they are an error.

    Raises:
        DataError: there is no class folder, one without images, or a file that is no image; or
            the folders are parts of a data set and no classes.
    """
    found = _class_folders(root, _images(files))
    names = {name.lower() for name in found}
    if names & _TRAIN and names & _HELD_OUT:
        raise DataError(
            f"{root}: the folders {listed(sorted(found))} look like the parts of a data set, "
            "not like classes: use the data set 'imagenet', which reads train and val, or give "
            "the path of one part"
        )
    return _readable([(file, name) for name in found for file in found[name]], found, key, skip)


def read_train_and_val(
    root: Path, files: Iterable[Path], key: str, *, skip: bool
) -> tuple[ClassFolders, ClassFolders]:
    """ImageNet's layout: ``root/train/CLASS/IMAGE`` and ``root/val/CLASS/IMAGE``.

    The images of ``val`` may also lie in it without folders, as ImageNet is published, or in one
    for all; then a file says which classes they have, see `dyt_images.ground_truth`.

    Raises:
        DataError: as `read_folder` does; or the two have not the same classes, share more than a
            hundredth of their images, or it is not known which classes those in ``val`` have.
    """
    listed, root = list(files), imagenet_root(root)
    parts = {
        part: [f for f in _images(listed) if f.is_relative_to(root / part)]
        for part in ("train", "val")
    }
    for part, found in parts.items():
        if not found:
            raise DataError(f"{root / part} holds no images; expected CLASS/IMAGE there")
    train = _class_folders(root / "train", parts["train"])
    if len(folders := {file.parent for file in parts["val"]} - {root / "val"}) < 2 and not (
        train.keys() & {folder.name for folder in folders}
    ):
        truth = [file for file in listed if file.suffix.lower() not in IMAGE_SUFFIXES]
        labelled = classes_in_val(root, parts["val"], truth, sorted(train))
        names = {name for _, name in labelled}
    else:
        val = _class_folders(root / "val", parts["val"])
        labelled = [(file, name) for name in val for file in val[name]]
        names = set(val)
    if alone := sorted(train.keys() ^ names):
        raise DataError(
            f"{root}: train and val must have the same classes, and {quoted(alone[0])} is in one "
            "alone"
        )
    to_train_on = [(file, name) for name in train for file in train[name]]
    both = _readable([*to_train_on, *labelled], train, key, skip)
    first = sum(Path(file).is_relative_to(root / "train") for file in both.files)
    order = range(len(both.files))
    check_split(both, order[:first], order[first:], root)
    return both.part(slice(first)), both.part(slice(first, None))


def check_split(found: ClassFolders, train: Sequence[int], val: Sequence[int], source: Any) -> None:
    """Check that no image of ``val`` is in ``train`` as well, under another name.

    Raises:
        DataError: more than a hundredth are.
    """
    held_out = ((found.contents[i], found.files[i]) for i in val)
    check_apart((found.contents[i] for i in train), held_out, "images", source)


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


def _images(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]


def _class_folders(root: Path, images: Iterable[Path]) -> dict[str, list[Path]]:
    """Class -> its images, both sorted."""
    found: dict[str, list[Path]] = {}
    stray = 0
    for file in sorted(images):
        parts = file.relative_to(root).parts
        if len(parts) > 1:
            found.setdefault(parts[0], []).append(file)
        else:
            stray += 1
    if not found:
        raise DataError(
            f"{root}: no image lies in a folder; put each class's images into a folder of its own"
        )
    folders = {each.name for each in root.iterdir() if each.is_dir() and not is_ignored(each.name)}
    if empty := sorted(folders - found.keys()):
        raise DataError(
            f"{root}: {len(empty)} folders hold no image, {quoted(empty[0])} first: "
            f"expected {', '.join(sorted(IMAGE_SUFFIXES))}; put each class's images into a folder "
            "of its own"
        )
    if stray:
        notice(f"{root}: {stray:,} images lie in no class's folder and are left out")
    return {name: found[name] for name in sorted(found)}


def _readable(
    labelled: Sequence[tuple[Path, str]], classes: Iterable[str], key: str, skip: bool
) -> ClassFolders:
    """The files that can be read: each is decoded, once, and the cache keeps the hashes."""
    names, files = sorted(classes), [str(file) for file, _ in labelled]

    def check(to: Path) -> None:
        with checking():
            read = dict(read_each(files, check_image, skip=skip, threads=32))
        to.write_text(json.dumps([read.get(file) for file in files]))

    kept = derived(f"images/checked-{digest(_FORMAT, key, len(files), skip)}.json", check)
    contents: list[str | None] = json.loads(kept.read_text())
    good = [index for index, content in enumerate(contents) if content is not None]
    return ClassFolders(
        [files[i] for i in good],
        [names.index(labelled[i][1]) for i in good],
        names,
        [content for content in contents if content is not None],
    )
