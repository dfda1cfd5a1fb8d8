"""Arrays that are dear to make and needed again: kept in the cache, read from the disk."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache

CHUNK = 256  # rows made and written at once
_TELL_EVERY_S = 30.0


def derived_folder() -> Path:
    """Where they lie; deleting it costs only the time to make them again."""
    folder = cache() / "derived" / "diffusion"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from None
    return folder


def derived_array(
    name: str, shape: tuple[int, ...], dtype: str, rows: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    """The array kept under ``name``, memory-mapped; made first, if it is not there.

    Cut off while it was made, it is continued, not begun again.

    Args:
        name: file name without suffix; holds a digest of all that the content depends on.
        shape: (N, ...).
        dtype: of NumPy.
        rows: makes the rows from the first number up to the second.

    Raises:
        DataError: the cache cannot be written, has no room, or ``rows`` raised one.
    """
    file = derived_folder() / f"{name}.npy"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            _make(file, shape, dtype, rows)
    return np.load(file, mmap_mode="r")


def _make(
    file: Path, shape: tuple[int, ...], dtype: str, rows: Callable[[int, int], np.ndarray]
) -> None:
    partial, progress = file.with_suffix(".partial"), file.with_suffix(".progress")
    done = int(progress.read_text()) if partial.exists() and progress.exists() else 0
    if not done:
        # A mapped file that the disk cannot hold ends the process with a signal.
        wanted = math.prod(shape) * np.dtype(dtype).itemsize
        free = shutil.disk_usage(file.parent).free
        if wanted > free:
            raise DataError(
                f"{file.parent} has room for {free / 2**30:.1f} GiB, and {wanted / 2**30:.1f} GiB "
                "are needed: set DYT_BENCH_DATA to a folder on a larger disk"
            )
    array = np.lib.format.open_memmap(partial, "r+" if done else "w+", dtype, shape)
    told = time.monotonic()
    for start in range(done, len(array), CHUNK):
        stop = min(start + CHUNK, len(array))
        array[start:stop] = rows(start, stop)
        array.flush()
        progress.write_text(str(stop))
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            print(f"{file.stem}: {stop:,} of {len(array):,}", flush=True)  # into the cell's log
    partial.rename(file)
    progress.unlink()
