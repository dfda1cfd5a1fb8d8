"""The data module of vision: which reader, which split, which batches."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch.utils.data import Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, entry, quoted
from dyt_bench.plugin.files import digest_files
from dyt_images.folders import check_split, read_folder, read_train_and_val
from dyt_images.read import READERS
from dyt_images.split import held_out
from dyt_vision.catalog import DATASETS
from dyt_vision.data.memory import Samples, in_memory
from dyt_vision.data.photographs import samples

_LEAST_PER_CLASS = 2  # images: one to train on, one to hold out

# Raises DataError for a split (indices to train on, indices held out) that has the same images on
# both sides.
CheckSplit = Callable[[Sequence[int], Sequence[int]], None]


class VisionData(SeededDataModule):
    """Batches ``(images (B, C, S, S) float in [-1, 1], labels (B,) int64)``.

    Attributes:
        labels: of the training set and of the validation set.
        channels: C.
        pixels: S.
        classes: how many there are.

    Args:
        dataset: its name in `dyt_vision.catalog`.
        path: of your own images.
        batch_size: images of a training step, of all processes together.
        pixels: a side of the images; None: as many as they have, 32 of photographs.
        train_samples: train on at most so many.
        skip_bad_files: leave out files that cannot be read; else they are an error.
        auto_augment, random_erase: of photographs of more than 32 pixels a side, as
            `dyt_vision.data.photographs.augmented` takes them.
        digest: of the files, where it is known.

    Raises:
        DataError: a file is no image, the folders are not laid out as they must be, there is but
            one class, a class has too few images to hold one out, or there are fewer than a batch.
        UserError: no data set has that name.
    """

    def __init__(
        self,
        dataset: str = "digits",
        path: str | Path | None = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        pixels: int | None = None,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
        auto_augment: str = "",
        random_erase: float = 0.0,
        digest: str = "",
    ) -> None:
        folder = None if path is None else Path(path)
        files = list(entry(DATASETS, dataset, "dataset").files(folder))
        if dataset in READERS:
            found = _divided(in_memory(READERS[dataset](files), pixels), dataset)
        else:
            assert folder is not None  # or `files` has raised
            found = _photographs(
                folder,
                files,
                digest or digest_files(files, folder),
                divided=dataset == "imagenet",
                skip=skip_bad_files,
                make=partial(
                    samples, side=pixels, auto_augment=auto_augment, random_erase=random_erase
                ),
            )
        self.labels = found.labels
        super().__init__(
            at_most(found.train, train_samples),
            found.val,
            batch_size=batch_size,
            seed=seed,
            num_workers=found.workers,
        )
        self.channels, self.pixels = found.channels, found.pixels
        self.classes = len(found.classes)


def _photographs(
    folder: Path,
    files: list[Path],
    key: str,
    *,
    divided: bool,
    skip: bool,
    make: Callable[..., Samples],
) -> Samples:
    """Of ImageNet's layout, which is divided, or of a folder a class."""
    if divided:
        return _divided(make(*read_train_and_val(folder, files, key, skip=skip)), folder)
    found = read_folder(folder, files, key, skip=skip)
    return _divided(make(found, found), folder, partial(check_split, found, source=folder))


def _unchecked(train: Sequence[int], val: Sequence[int]) -> None:
    """Of sets as they are published."""


def _divided(found: Samples, source: Path | str, check: CheckSplit = _unchecked) -> Samples:
    """The set as its makers divided it, or else with every fifth image held out."""
    if len(found.classes) < 2:
        raise DataError(
            f"{source}: one class alone, {quoted(found.classes[0])}: "
            "expected two or more, because whatever a model learns, it would always be right"
        )
    if found.divided:
        return found
    labels = found.labels[0]
    chosen, rest = held_out(labels, found.classes, least=_LEAST_PER_CLASS, source=source)
    check(chosen, rest)
    return replace(
        found,
        train=Subset(found.train, chosen),
        val=Subset(found.val, rest),
        labels=([labels[i] for i in chosen], [labels[i] for i in rest]),
        divided=True,
    )
