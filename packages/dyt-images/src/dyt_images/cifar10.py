"""Read CIFAR-10: pickled batches, 50,000 images to train on and 10,000 held out."""

import pickle
from pathlib import Path

from torchvision.datasets import CIFAR10

from dyt_bench.plugin.domain import DataError, reason
from dyt_images.arrays import Images, ImageSet


def read_cifar10(files: list[Path]) -> ImageSet:
    """All of it.

    Raises:
        DataError: a file is not as it was published, which torchvision checks before it
            unpickles any.
    """
    root = files[0].parents[1]
    try:
        parts = [CIFAR10(root, train=train) for train in (True, False)]
    except RuntimeError:  # of a checksum
        raise DataError(
            f"{root} does not hold CIFAR-10 as it was published: a file is missing, cut off or "
            "another; remove cifar-10-batches-py and get it again"
        ) from None
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{root} does not hold CIFAR-10 as it was published: {reason(error)}"
        ) from None
    train, val = (Images(part.data.transpose(0, 3, 1, 2), part.targets) for part in parts)
    return ImageSet(train, val, list(parts[0].classes))
