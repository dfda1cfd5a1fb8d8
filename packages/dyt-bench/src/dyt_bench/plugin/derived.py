"""Derived files: expensive preprocessing of a data set, done once and kept in the cache."""

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.atomic import read_json
from dyt_bench.plugin.code import closure_digest
from dyt_bench.plugin.fetch import cache, cannot_write
from dyt_bench.plugin.notices import collected, repeat

__all__ = ["derived", "derived_array"]

Rows = Callable[[int, int], NDArray[Any]]  # (start, stop) -> those rows of an array

CHUNK = 256  # rows of an array that are made and written at once
_REPORT_EVERY_S = 30.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def derived(
    name: str, make: Callable[[Path], object], *, size: int | None = None, resume: bool = False
) -> Path:
    """The file or folder that the cache keeps under ``name``; made first, if it is not there.

    It appears in one move, when it is complete and on the disk. Processes that want it at the
    same time wait for the one that makes it. A crash, Ctrl-C or a full disk leaves nothing under
    its name. What is noticed while it is made (`dyt_bench.plugin.notices`) is noticed at each call.

    Args:
        name: its path below the cache's folder of derived files, ``speech/samples-1f2e.s16``;
            holds a digest of the data and options that its content depends on. A digest of the
            code that makes it is added: `dyt_bench.plugin.code.closure_digest` of the module in
            which ``make`` is defined.
        make: writes the file or folder. Its argument is a path that ends in the same file name,
            in an empty folder where scratch files may lie too; the move removes them. Write with
            Python's own files (``torch.save(state, file)``, where ``file`` is open): other
            writers do not report a full disk as an OSError.
        size: bytes that it takes, where that is known beforehand. A disk without that much room
            is reported before ``make`` is called.
        resume: keep what ``make`` has written when it fails or is killed; the next call finds it
            at the same path and continues.

    Returns:
        Its path. Do not write to it.

    Raises:
        DataError: the cache cannot be written, or has no room.

    Example:
        >>> path = derived("llm/words-1f2e.txt", lambda path: path.write_text("to be"))
        >>> path.read_text()
        'to be'
    """
    return _kept(name, make, _module_of(make), size, resume)


def _module_of(make: Callable[..., object]) -> str:
    while isinstance(make, partial):
        make = make.func
    return make.__module__


def _kept(
    name: str, make: Callable[[Path], object], module: str, size: int | None, resume: bool
) -> Path:
    """As `derived`; ``module`` holds the code that counts."""
    plain = Path(name)
    # A script's own module, and one made while a program runs, have no file to hash.
    code = "" if module in ("__main__", "builtins") else closure_digest(module)
    stem = f"{plain.stem}-{code}" if code else plain.stem
    path = cache() / "derived" / plain.with_name(f"{stem}{plain.suffix}")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _only_one(path):
                if not path.exists():  # another process may have made it meanwhile
                    _make(path, make, size, resume)
        repeat(read_json(_notices_of(path)) or {})
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return path


def _notices_of(path: Path) -> Path:
    """What was noticed while ``path`` was made; not there if nothing was."""
    return path.with_name(f"{path.name}.notices.json")


def derived_array(name: str, shape: tuple[int, ...], dtype: str, rows: Rows) -> NDArray[Any]:
    """The array that the cache keeps under ``name``, memory-mapped; made first, if not there.

    If making it is cut off, the next call resumes at the chunk that was not complete. Progress
    is printed every half minute.

    Args:
        name: as for `derived`; ends in ``.npy``.
        shape: (N, ...).
        dtype: NumPy's name of it.
        rows: returns rows ``start`` to ``stop``, (stop - start, ...). It is called for chunks of
            256 rows, at multiples of 256.

    Raises:
        DataError: the cache cannot be written, or has no room; or ``rows`` raises one.
        ValueError: ``rows`` returns another shape.
    """
    kind = np.dtype(dtype)

    def make(path: Path) -> None:
        path.touch()
        with path.open("r+b") as file:
            _append(file, path.stem, shape, kind, rows)

    file = _kept(name, make, _module_of(rows), math.prod(shape) * kind.itemsize, True)
    array: NDArray[Any] = np.load(file, mmap_mode="r")
    return array


def _append(
    file: IO[bytes], title: str, shape: tuple[int, ...], kind: np.dtype[Any], rows: Rows
) -> None:
    """Write the header and the rows that the file lacks.

    Not through a memory map: on a full disk that ends the process with a signal.
    """
    header = BytesIO()
    fields = {"descr": kind.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    begun = file.read(header.tell()) == header.getvalue()
    chunk = max(1, CHUNK * math.prod(shape[1:]) * kind.itemsize)  # bytes
    complete = (file.seek(0, os.SEEK_END) - header.tell()) // chunk if begun else 0
    file.seek(0)
    file.write(header.getvalue())
    file.seek(header.tell() + complete * chunk)
    file.truncate()
    reported = time.monotonic()
    for start in range(complete * CHUNK, shape[0], CHUNK):
        stop = min(start + CHUNK, shape[0])
        part = np.asarray(rows(start, stop), kind)
        if part.shape != (expected := (stop - start, *shape[1:])):
            raise ValueError(f"rows must return shape {expected}, got {part.shape}")
        file.write(part.tobytes())
        file.flush()
        os.fsync(file.fileno())
        if time.monotonic() - reported > _REPORT_EVERY_S:
            reported = time.monotonic()
            print(f"{title}: {stop:,} of {shape[0]:,}", flush=True)  # into the run's log


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``; a wait for another process is printed."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process, which makes {path}", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(path: Path, make: Callable[[Path], object], size: int | None, resume: bool) -> None:
    scratch = path.with_name(path.name + ".partial")
    if not resume:
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    scratch.mkdir(exist_ok=True)
    complete = False
    try:
        if size is not None:
            _check_room(scratch, size)
        with collected() as notices:
            _call(make, scratch / path.name, scratch)
        for file in _files(scratch / path.name):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if state := notices.state():
            kept = scratch / "notices.json"
            kept.write_text(json.dumps(state))
            kept.rename(_notices_of(path))
        (scratch / path.name).rename(path)
        complete = True
    finally:
        if complete or not resume:
            shutil.rmtree(scratch, ignore_errors=True)


def _call(make: Callable[[Path], object], path: Path, scratch: Path) -> None:
    """Call ``make``; an OSError becomes a DataError, of the cache or of a file that it reads."""
    try:
        make(path)
    except UserError:  # says already what is wrong
        raise
    except Exception as error:
        if (cause := _of_the_cache(error, scratch)) is not None:
            raise cannot_write(scratch.parent, cause) from error
        if isinstance(error, OSError):
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise DataError(f"cannot make {path.name}: {what}") from error
        raise
    if not path.exists():
        raise ValueError(f"make must write {path}, and did not")


def _of_the_cache(error: BaseException, scratch: Path) -> OSError | None:
    """The OSError of writing below ``scratch``: the error itself, or one that it was raised for."""
    if type(error) is OSError and error.errno is None:  # NumPy's, of a write that was cut short
        return error
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError):
            below = at.filename and Path(os.fsdecode(at.filename)).is_relative_to(scratch)
            if below or at.errno in _NO_ROOM:
                return at
        at = at.__cause__ or at.__context__
    return None


def _check_room(scratch: Path, size: int) -> None:
    needed = size - sum(file.stat().st_size for file in _files(scratch))
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise DataError(
            f"{scratch.parent} has room for {free / 2**30:.1f} GiB, and {needed / 2**30:.1f} GiB "
            "are needed: set DYT_BENCH_DATA to a folder on a larger disk"
        )


def _files(path: Path) -> Iterator[Path]:
    yield from [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
