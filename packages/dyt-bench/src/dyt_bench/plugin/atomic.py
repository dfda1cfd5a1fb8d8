"""JSON files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dyt_bench.errors import CannotWrite


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces ``path`` in one move once it is on the disk.

    A reader, or a crash, sees the old file or the new one, never half of one.

    Raises:
        CannotWrite: the disk is full or cannot be written; ``path`` is unchanged.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise CannotWrite(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Replace ``path`` in one move; raises CannotWrite, as `replacing` does."""
    with replacing(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """What the file holds; None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
