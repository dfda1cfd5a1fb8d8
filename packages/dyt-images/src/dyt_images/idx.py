"""Read IDX files, the format of MNIST and its successors."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dyt_bench.plugin.domain import DataError, reason


def read_idx(file: Path) -> NDArray[np.uint8]:
    """An array of bytes in gzipped IDX format.

    Two zero bytes, the type (8: bytes), the number of dimensions, each dimension in four bytes
    with the highest first, the values.

    Raises:
        DataError: the file is cut off, or of another format.
    """
    try:
        content = gzip.decompress(file.read_bytes())
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin with 0, 0, 8")
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
        return values.reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(
            f"{file} is not in gzipped IDX format, or is cut off: {reason(error)}; remove it and "
            "get it again"
        ) from None
