"""Whose a workspace is: a name that it keeps when it moves, and that a copy does not share.

``id`` has the name, and ``home.json`` where the folder was when it got it. A workspace that is
found elsewhere was moved, or copied; two that share a name would mark each other's runs as killed.
So a folder whose original may still be in use gets a name of its own.
"""

import contextlib
import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from dyt_bench.errors import CannotWrite
from dyt_bench.plugin.atomic import replacing, write_json
from dyt_bench.records.stored import SCHEMA, Newer, Unreadable, content_of, read_stored

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where results come from."""

    workspace: str  # its identity
    machine: str  # the host's name

    @property
    def label(self) -> str:
        """For people; two workspaces of one machine differ."""
        return f"{self.machine} {self.workspace[:4]}"


@dataclass(frozen=True)
class Home:
    """Where a workspace is, and what it was called."""

    folder: str
    host: str
    inode: int  # of the file `id`: the same on every machine that shares the file system
    earlier: list[str] = field(default_factory=list)  # identities of what it is a copy of


@cache
def _homes() -> TypeAdapter[Home]:
    return TypeAdapter(Home)


@cache
def _origins() -> TypeAdapter[Origin]:
    return TypeAdapter(Origin)


def read_origin(path: Path) -> Origin | None:
    """What `write_origin` wrote; None if it did not. Raises Unreadable."""
    return read_stored(path, _origins())


def write_origin(path: Path, origin: Origin) -> None:
    """Write down where a record comes from that was merged into another workspace."""
    write_json(path, {"schema": SCHEMA, **asdict(origin)})


def identify(folder: Path, set_aside: Callable[[Unreadable], None]) -> tuple[str, Home]:
    """The workspace's identity, and where it is; both are written if it has none, or is a copy.

    Args:
        set_aside: called with each of the two files that cannot be read.
    """
    identity = _readable(folder / "id", _identity, set_aside) or ""
    home = _readable(folder / "home.json", lambda path: read_stored(path, _homes()), set_aside)
    earlier = [] if home is None else home.earlier
    if not identity or (home is not None and is_copy(folder, identity, home)):
        earlier = [*earlier, identity] if identity else earlier
        identity = uuid.uuid4().hex[:12]
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "id") as file:
            file.write(identity.encode())
        identity = _identity(folder / "id")  # of two processes that come first, one counts
    here = Home(str(folder), platform.node(), (folder / "id").stat().st_ino, earlier)
    if here != home:
        with contextlib.suppress(CannotWrite):  # a folder that is only read
            write_json(folder / "home.json", {"schema": SCHEMA, **asdict(here)})
    return identity, here


def peek(folder: Path) -> Origin | None:
    """Where the results of a workspace come from, which is only read: a copy is its original's.

    None if it has no identity. Raises Unreadable.
    """
    identity, home = _identity(folder / "id"), read_stored(folder / "home.json", _homes())
    return Origin(identity, home.host if home is not None else "unknown") if identity else None


def is_copy(folder: Path, identity: str, home: Home) -> bool:
    """Whether the workspace is a copy, whose original may be in use.

    On another machine that cannot be known, unless both see one file system: then it counts as a
    copy.
    """
    if home.host != platform.node():
        return home.inode != (folder / "id").stat().st_ino
    original = Path(home.folder)
    try:
        return _identity(original / "id") == identity and not os.path.samefile(original, folder)
    except (OSError, Unreadable):
        return False


def _identity(path: Path) -> str:
    """The identity in a file; empty if there is no file. Raises Unreadable."""
    try:
        known = (content_of(path) or b"").decode("ascii").strip()
    except UnicodeDecodeError:
        raise Unreadable(path, "it is no identity") from None
    if known and not (known.isalnum() and len(known) < 100):
        raise Unreadable(path, "it is no identity")
    return known


def _readable(
    path: Path, read: Callable[[Path], T], set_aside: Callable[[Unreadable], None]
) -> T | None:
    try:
        return read(path)
    except Newer:
        raise
    except Unreadable as problem:
        set_aside(problem)
        return None
