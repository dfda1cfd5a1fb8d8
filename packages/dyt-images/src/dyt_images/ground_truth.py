"""Which class each image of ImageNet's flat ``val/`` has, from the files published with it.

- ``ILSVRC2012_validation_ground_truth.txt`` of the development kit: a number for each image, in the
  order of their names, which ``meta.mat`` beside it gives a class;
- ``LOC_val_solution.csv``, of Kaggle: ``ILSVRC2012_val_00000001,n01751748 111 108 ...``;
- ``imagenet_2012_validation_synset_labels.txt``, of TensorFlow: a class for each image, in order;
- ``val_annotations.txt``, ``val_map.txt`` or ``val.txt``: an image and its class, or the class's
  number from 0, on each line.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dyt_bench.plugin.domain import DataError, reason
from dyt_images.files import GROUND_TRUTH

_DEVELOPMENT_KIT, _META, _KAGGLE, _TENSORFLOW, *_PAIRS = GROUND_TRUTH


def classes_in_val(
    root: Path, images: Sequence[Path], truth: Sequence[Path], classes: Sequence[str]
) -> list[tuple[Path, str]]:
    """Each image with its class.

    Args:
        root: the data set's folder.
        images: those in ``val``.
        truth: the data set's files that are no images.
        classes: those to train on, sorted.

    Raises:
        DataError: no file says which class the images have, or not of all of them.
    """
    by_name = {file.name: file for file in truth}
    readers: Mapping[str, Callable[[Path], dict[str, str]]] = {
        _DEVELOPMENT_KIT: lambda file: _in_order(images, _development_kit(file)),
        _KAGGLE: _kaggle,
        _TENSORFLOW: lambda file: _in_order(images, file.read_text().split()),
        **{name: lambda file: _pairs(file, classes) for name in _PAIRS},
    }
    file = next((by_name[name] for name in readers if name in by_name), None)
    if file is None:
        raise DataError(
            f"{root / 'val'} holds images without folders, and no file says which classes they "
            f"have: put {_DEVELOPMENT_KIT} with {_META}, {_KAGGLE} or val.txt (IMAGE CLASS on each "
            f"line) into {root}, or the images into folders, val/CLASS/IMAGE"
        )
    try:
        found = readers[file.name](file)
    except (OSError, ValueError, LookupError) as error:
        raise DataError(
            f"{file} does not say which classes the images in val have: {reason(error)}"
        ) from None
    labelled = []
    for image in images:
        name = found.get(image.name) or found.get(image.stem)
        if name is None:
            raise DataError(f"{file} does not say which class {image} has")
        labelled.append((image, name))
    return labelled


def _in_order(images: Sequence[Path], names: Sequence[str]) -> dict[str, str]:
    if len(images) != len(names):
        raise ValueError(f"it has {len(names):,} lines for {len(images):,} images")
    ordered = sorted(image.name for image in images)
    return dict(zip(ordered, names, strict=True))


def _development_kit(file: Path) -> list[str]:
    from scipy.io import loadmat

    meta = file.with_name(_META)
    if not meta.is_file():
        raise ValueError(f"{_META} must lie beside it")
    synsets = loadmat(meta, squeeze_me=True)["synsets"]
    names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    return [names[int(number)] for number in file.read_text().split()]


def _kaggle(file: Path) -> dict[str, str]:
    with file.open(newline="") as rows:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(rows)}


def _pairs(file: Path, classes: Sequence[str]) -> dict[str, str]:
    found = {}
    for line in file.read_text().splitlines():
        if line.strip():
            image, name = line.split()[:2]
            is_number = name.isdecimal() and name not in classes
            found[Path(image).name] = classes[int(name)] if is_number else name
    return found
