"""The hash of a data set: of its files' paths below their folder, and of all that they contain.

The hashes of a large data set's files are kept in the cache: to read ImageNet takes minutes, to
ask the system whether its files have changed takes seconds.
"""

import hashlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from dyt_bench.errors import DataError
from dyt_bench.plugin.fetch import cache

__all__ = ["digest_files"]

_KEEP_FROM = 64 * 2**20  # bytes of a data set from which on hashes are kept; less is read at once
_TELL_FROM = 2**30  # bytes to read from which on the user is told
_AT_ONCE = 1024  # files that are read before their hashes are kept
# Time stamps may be this coarse: a file that changed just before it was read may change again and
# look the same.
_SETTLED_NS = 3 * 10**9
_TABLE = "CREATE TABLE IF NOT EXISTS hashes (file BLOB PRIMARY KEY, state TEXT, content BLOB)"


def digest_files(files: Iterable[Path], root: Path | None = None) -> str:
    """A hash of the files' content and paths, wherever their folder lies; not of their order.

    The paths count because a folder is often the label of what lies in it. They start below
    ``root``; of files that are not there, below the folder into which `dyt-bench data fetch` has
    fetched them, or else below the folder that they have in common.

    Args:
        root: the folder or file that the user named.

    Raises:
        DataError: a file cannot be read.
    """
    paths = [os.path.abspath(file) for file in files]
    total = hashlib.sha256()
    for name, content in sorted(zip(_names(paths, root), _hashes(paths), strict=True)):
        total.update(name + b"\0" + content)
    return total.hexdigest()[:12]


def _names(files: list[str], root: Path | None) -> Iterator[bytes]:
    """The path of each file below its folder, with a mark if that is the user's own."""
    own = "" if root is None else os.path.abspath(root.parent if root.is_file() else root)
    fetched = os.path.abspath(cache())
    others = [os.path.dirname(f) for f in files if not (_is_in(f, own) or _is_in(f, fetched))]
    common = os.path.commonpath(others) if others else ""
    for file in files:
        if _is_in(file, own):
            yield b"/" + os.fsencode(os.path.relpath(file, own))
        elif _is_in(file, fetched):  # in DOMAIN/DATASET
            yield os.fsencode(os.sep.join(file[len(fetched) + 1 :].split(os.sep)[2:]))
        else:
            yield os.fsencode(os.path.relpath(file, common))


def _is_in(file: str, folder: str) -> bool:
    return bool(folder) and file.startswith(os.path.join(folder, ""))


def _hashes(files: list[str]) -> list[bytes]:
    """The SHA-256 of each file's content."""
    try:
        states = [os.stat(file) for file in files]
        if sum(state.st_size for state in states) < _KEEP_FROM:
            return list(map(_read, files))
        return _kept_hashes(dict(zip(files, states, strict=True)), files)
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error


def _read(file: str) -> bytes:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _kept_hashes(states: dict[str, os.stat_result], files: list[str]) -> list[bytes]:
    """As `_hashes`; what the cache does not know is read, and kept there."""
    with closing(_open()) as kept:
        known = {file: _look_up(kept, file, state) for file, state in states.items()}
        unknown = [file for file, content in known.items() if content is None]
        size = sum(states[file].st_size for file in unknown)
        if size >= _TELL_FROM:
            where = os.path.commonpath([os.path.dirname(file) for file in unknown])
            print(
                f"reading {size / 2**30:.1f} GiB below {where}, once: a run's identity covers the "
                "content of its data",
                file=sys.stderr,
                flush=True,
            )
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(unknown), _AT_ONCE):
                part, now = unknown[start : start + _AT_ONCE], time.time_ns()
                found = dict(zip(part, pool.map(_read, part), strict=True))
                known.update(found)
                _keep(kept, {f: (states[f], content) for f, content in found.items()}, now)
    return [content for file in files if (content := known[file]) is not None]


def _open() -> sqlite3.Connection:
    """The hashes in the cache; none, in memory, where the cache cannot be used."""
    path = cache() / "hashes.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(str(path))
    except (OSError, sqlite3.OperationalError):
        return _connect(":memory:")
    except sqlite3.DatabaseError:  # the file is damaged
        path.unlink(missing_ok=True)
        return _connect(":memory:")


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(_TABLE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _look_up(kept: sqlite3.Connection, file: str, state: os.stat_result) -> bytes | None:
    query = "SELECT content FROM hashes WHERE file = ? AND state = ?"
    with suppress(sqlite3.Error):  # a damaged part of the file
        row = kept.execute(query, (os.fsencode(file), _text(state))).fetchone()
        return None if row is None else bytes(row[0])
    return None


def _keep(
    kept: sqlite3.Connection, found: dict[str, tuple[os.stat_result, bytes]], now: int
) -> None:
    """Keep the hashes of files that did not change while they were read, nor just before."""
    rows = [
        (os.fsencode(file), _text(state), content)
        for file, (state, content) in found.items()
        if _text(os.stat(file)) == _text(state)
        and max(state.st_mtime_ns, state.st_ctime_ns) < now - _SETTLED_NS
    ]
    with suppress(sqlite3.Error), kept:  # the disk may be full, or another process writes
        kept.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", rows)


def _text(state: os.stat_result) -> str:
    """What the system says of a file, of which something changes whenever its content does."""
    told = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return " ".join(map(str, told))
