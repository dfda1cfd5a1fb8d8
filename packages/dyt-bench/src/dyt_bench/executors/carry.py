"""Jobs and their files, to and from machines that share no file system.

A job's folder is that of its log. Every path in the job that lies in that folder is another one on
the other machine, and what the job writes there is sent back as it is written.
"""

import io
import os
import pickle
from pathlib import Path
from typing import Any

from dyt_bench.errors import CannotWrite
from dyt_bench.executors.contract import Event, Job

_APPENDED = (".jsonl", ".txt", ".log")  # rows and logs; any other file is replaced
_OWN = ("lock", "run.json")  # of the side that has them


def pack(job: Job, folder: Path) -> tuple[bytes, bool]:
    """The job, pickled without ``folder``; and whether it has a path in there."""
    packer = _Packer(folder)
    packer.dump(job)
    return packer.buffer.getvalue(), packer.found


def unpack(job: bytes, folder: Path) -> Job:
    """The job, with its paths in ``folder``."""
    unpacker = _Unpacker(io.BytesIO(job), folder)
    unpacked: Job = unpacker.load()
    return unpacked


class Unpacked:
    """A packed job that is unpacked where it runs, in a process that keeps its log."""

    def __init__(self, job: bytes, folder: Path) -> None:
        self.job, self.folder = job, folder

    def __call__(self, tell: Any) -> Any:
        return unpack(self.job, self.folder)(tell)


class _Packer(pickle.Pickler):
    def __init__(self, folder: Path) -> None:
        self.buffer, self.folder, self.found = io.BytesIO(), folder, False
        super().__init__(self.buffer)

    def persistent_id(self, item: object) -> str | None:
        if isinstance(item, Path) and item.is_relative_to(self.folder):
            self.found = True
            return str(item.relative_to(self.folder))
        return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file)
        self.folder = folder

    def persistent_load(self, name: str) -> Path:
        return self.folder / name


def files_of(folder: Path) -> list[Event]:
    """All that a job needs of its folder, as events."""
    return [_whole(folder, name) for name in _names(folder) if name != "lock"]


def land(event: Event, folder: Path) -> None:
    """Write what an event of another machine tells of a file; raises CannotWrite."""
    path = folder / event["name"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{event['name']} is no file of the job's")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if event["offset"]:
            with path.open("r+b") as file:
                file.seek(event["offset"])
                file.write(event["data"])
        else:
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(event["data"])
            os.replace(partial, path)
    except OSError as error:
        raise CannotWrite(path, error) from error


class Outbox:
    """Changes of the files below a folder, as events. What is there at first is known already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sent = {
            name: state for name in _names(folder) if (state := self._state(name)) is not None
        }

    def collect(self) -> list[Event]:
        """What has changed since the last call: lines that were added first, then whole files.

        A file that was replaced is read before those that grow. So rows that a checkpoint counts
        are there before it is.
        """
        grown: list[Event] = []
        whole: list[Event] = []
        names = [name for name in _names(self.folder) if name not in _OWN]
        states = {name: state for name in names if (state := self._state(name))}
        replaced = [name for name in states if not self._grows(name, states[name])]
        for name in replaced:
            if states[name] != self._sent.get(name):
                whole.append(_whole(self.folder, name))
                self._sent[name] = states[name]
        for name in states:
            if name not in replaced:
                grown += self._added(name)
        return [*grown, *reversed(whole)]  # a checkpoint after the rows that it counts

    def _state(self, name: str) -> tuple[int, int, int] | None:
        """Which file it is, how long, and when it was changed; None if it is gone."""
        try:
            about = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return about.st_ino, about.st_size, about.st_mtime_ns

    def _grows(self, name: str, state: tuple[int, int, int]) -> bool:
        # Not by its inode alone: a file that replaces another one may get that of its predecessor.
        sent = self._sent.get(name)
        is_same = sent is not None and sent[0] == state[0] and 0 < sent[1] <= state[1]
        return is_same and name.endswith(_APPENDED)

    def _added(self, name: str) -> list[Event]:
        inode, offset, _ = self._sent[name]
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            data = file.read()
        self._sent[name] = (inode, offset + len(data), 0)
        return [{"event": "file", "name": name, "offset": offset, "data": data}] if data else []


def _names(folder: Path) -> list[str]:
    """Files below a folder; none that is being written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".partial")
    return sorted(str(path.relative_to(folder)) for path in found)


def _whole(folder: Path, name: str) -> Event:
    data = (folder / name).read_bytes()
    return {"event": "file", "name": name, "offset": 0, "data": data}
