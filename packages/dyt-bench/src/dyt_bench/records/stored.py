"""JSON files of a workspace: read as what they must be, or told why they cannot be."""

import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dyt_bench.errors import UserError, quoted, shortened

T = TypeVar("T")

# Of the files that this version writes. It is raised when a key changes its name or its meaning,
# not for new keys, which every version ignores.
SCHEMA = 1
MOST_BYTES = 2**30  # of a file that is read as a whole: far more than any run writes


class Unreadable(UserError):
    """A file of the workspace cannot be read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.why}"


class Newer(Unreadable):
    """A file was written by a later version, whose meaning this one does not know."""

    def __init__(self, path: Path, schema: int) -> None:
        super().__init__(path, f"a newer version wrote it (schema {schema}, known is {SCHEMA})")

    def __str__(self) -> str:
        return f"{super().__str__()}; it stays as it is: update dyt-bench, or name another folder"


def content_of(path: Path) -> bytes | None:
    """The bytes of a file; None if there is none.

    Raises:
        Unreadable: a folder, a link to nothing or a pipe is in its place, it is larger than
            `MOST_BYTES`, or the system refuses to read it.
    """
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # a pipe would wait for a writer
            raise Unreadable(path, "it is no file")
        if about.st_size > MOST_BYTES:
            raise Unreadable(path, f"it has {about.st_size:,} bytes, more than any run writes")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if os.path.lexists(path):
            raise Unreadable(path, "it is a link to nothing") from None
        return None
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from None


def read_stored(path: Path, kind: TypeAdapter[T]) -> T | None:
    """What a file holds, as ``kind``; None if there is none. Unknown keys are ignored.

    Raises:
        Newer: the file's schema is a later one.
        Unreadable: it is no JSON, or not of this kind.
    """
    content = content_of(path)
    if content is None:
        return None
    decoded(path, content)
    return parsed(path, content, kind)


def decoded(path: Path, content: bytes) -> dict[str, Any]:
    """The JSON object; raises Newer if its schema is a later one, Unreadable if it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        said = shortened(str(error))
        raise Unreadable(path, f"it is no JSON: {said}" if content else "it is empty") from None
    if not isinstance(found, dict):
        raise Unreadable(path, f"it holds {quoted(found)}, where an object is expected")
    schema = found.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise Newer(path, schema)
    return found


def parsed(path: Path, content: bytes, kind: TypeAdapter[T]) -> T:
    """JSON as ``kind``; raises Unreadable with the first thing that is wrong."""
    try:
        return kind.validate_json(_in_unicode(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        where = f"{shortened(place)}: " if place else ""
        raise Unreadable(path, f"{where}{shortened(first['msg'])}") from None


def _in_unicode(content: bytes) -> bytes:
    """The same JSON without halves of surrogate pairs: names that are not UTF-8 have them."""
    if b"\\ud" not in content:
        return content
    try:
        return json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return content


def free_name(path: Path) -> Path:
    """The path, or with a number where that is taken."""
    taken, number = path, 1
    while os.path.lexists(taken):
        number += 1
        taken = path.with_name(f"{path.name}-{number}")
    return taken
