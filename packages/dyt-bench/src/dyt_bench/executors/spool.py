"""A job's events in a file: written where the job runs, read by whoever plans, now or later.

What is read makes no object but those that events consist of, so that a workspace of somebody else
runs no code.
"""

import io
import pickle
import struct
import time
from pathlib import Path
from typing import Any

from dyt_bench.executors.contract import Event

_LENGTH = struct.Struct("<Q")
_ROW_EVERY_S = 1.0  # rows are in the record; here they only tell how far a run is
_CLASSES = {
    ("dyt_bench.records.record", "Result"),
    ("dyt_bench.executors.contract", "JobFailed"),
    ("dyt_bench.executors.contract", "JobStopped"),
    ("dyt_bench.errors", "CannotWrite"),
    ("dyt_bench.errors", "UserError"),
    ("pathlib", "PosixPath"),
    ("builtins", "OSError"),
}


class Writer:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._row = path, 0.0

    def __call__(self, event: Event) -> None:
        if event["event"] == "row":
            if time.monotonic() - self._row < _ROW_EVERY_S:
                return
            self._row = time.monotonic()
        frame = pickle.dumps(event)
        with self._path.open("ab") as file:  # of one process at a time
            file.write(_LENGTH.pack(len(frame)) + frame)


class Reader:
    """Reads the events that were added since the last time."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def read(self) -> list[Event]:
        """The new events; half of one, as a killed process leaves it, stays unread.

        Raises:
            pickle.UnpicklingError: the file holds anything else.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        events, place = [], 0
        while len(content) - place >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(content, place)
            start = place + _LENGTH.size
            if len(content) - start < length:
                break
            events.append(_Unpickler(io.BytesIO(content[start : start + length])).load())
            place = start + length
        self._offset += place
        return events


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an event")
        return super().find_class(module, name)
