"""Hold out a part of a data set that its makers have not divided."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sklearn.model_selection import train_test_split

from dyt_bench.plugin.domain import DataError, quoted

VAL_SHARE = 0.2  # a fifth
_SEED = 0  # one split for every seed: seeds vary the training, not the split


def held_out(
    labels: Sequence[int], classes: Sequence[str], *, least: int, source: Path | str
) -> tuple[list[int], list[int]]:
    """Indices to train on and to validate on, the same share of every class.

    Args:
        labels: places in ``classes``.
        least: images that every class must have.
        source: names the data set in errors.

    Raises:
        DataError: there are fewer, or too few in all to hold out one for each class.
    """
    counts = Counter(labels)
    for label, name in enumerate(classes):
        if counts[label] < least:
            images = "image" if counts[label] == 1 else "images"
            raise DataError(
                f"{source}: class {quoted(name)} has {counts[label]} {images}: expected at least "
                f"{least}, because a fifth is held out"
            )
    if round(VAL_SHARE * len(labels)) < len(classes):
        raise DataError(
            f"{source}: {len(labels)} images in {len(classes)} classes are too few: expected five "
            "for each class, because a fifth is held out"
        )
    train, val = train_test_split(
        range(len(labels)), test_size=VAL_SHARE, stratify=labels, random_state=_SEED
    )
    return train, val
