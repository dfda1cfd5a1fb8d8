"""What readers of data leave out, clip, repeat or guess: said in the log, and kept in the record.

A reader calls `notice` where it does such a thing. The harness collects what is said while a run's
data are built; `dyt_bench.plugin.derived` keeps it beside what it keeps, and says it again.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

__all__ = ["notice"]


@dataclass
class _Counted:
    """How often one thing was noticed, and where."""

    times: int = 0
    names: set[str] = field(default_factory=set)  # of files
    others: int = 0  # files that are counted alone, as they were noticed at another time
    first: str = ""  # of all files, by name

    @property
    def files(self) -> int:
        return len(self.names) + self.others


class Notices:
    """What was noticed, the same things counted together."""

    def __init__(self) -> None:
        self._counted: defaultdict[str, _Counted] = defaultdict(_Counted)
        self._lock = Lock()  # readers may be threads

    def add(self, what: str, file: str, times: int) -> None:
        with self._lock:
            counted = self._counted[what]
            counted.times += times
            if file:
                counted.names.add(file)
                counted.first = min(file, counted.first or file)

    def sentences(self) -> list[str]:
        """A line for each thing: ``IUPAC's letters read as N: 12 in 2 files, first in a.fa``."""
        return [_sentence(what, counted) for what, counted in self._counted.items()]

    def state(self) -> dict[str, Any]:
        """As JSON has it, for `merge`."""
        return {
            what: {"times": counted.times, "files": counted.files, "first": counted.first}
            for what, counted in self._counted.items()
        }

    def merge(self, state: dict[str, Any]) -> None:
        for what, told in state.items():
            counted = self._counted[what]
            counted.times += told["times"]
            counted.others += told["files"]
            counted.first = min(filter(None, (told["first"], counted.first)), default="")


def _sentence(what: str, counted: _Counted) -> str:
    if not counted.files:
        return what
    where = f"first in {counted.first}" if counted.files > 1 else f"in {counted.first}"
    files = f" in {counted.files:,} files" if counted.times > counted.files > 1 else ""
    return f"{what}: {counted.times:,}{files}, {where}"


_open: list[Notices] = []


def notice(what: str, file: object = "", times: int = 1) -> None:
    """Note that a reader did not take the data as they are.

    Args:
        what: a thing that can be counted over files ("photographs turned as their EXIF says"); a
            whole sentence where there is no ``file``.
        file: where.
        times: how often, in that file.
    """
    if not _open:
        print(what if not file else f"{what}: {times:,}, in {file}", flush=True)
        return
    _open[-1].add(what, str(file), times)


@contextmanager
def collected() -> Iterator[Notices]:
    """Collect what is noticed inside, from all threads; nothing is printed."""
    notices = Notices()
    _open.append(notices)
    try:
        yield notices
    finally:
        _open.remove(notices)


def is_collected() -> bool:
    """Whether a run's data are being built."""
    return bool(_open)


def repeat(state: dict[str, Any]) -> None:
    """Notice again what `Notices.state` says."""
    if _open:
        _open[-1].merge(state)
        return
    notices = Notices()
    notices.merge(state)
    for sentence in notices.sentences():
        print(sentence, flush=True)
