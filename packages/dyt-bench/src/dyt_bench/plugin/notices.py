"""What readers of data leave out, clip, repeat or guess: said in the log, and kept in the record.

A reader calls `notice` where it does such a thing. The harness collects what is said while a run's
data are built; `dyt_bench.plugin.derived` keeps it beside what it keeps, and says it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["notice"]


@dataclass
class _Counted:
    """How often one thing was noticed, in how many files, and the first of them by name."""

    times: int = 0
    files: int = 0
    first: str = ""

    def add(self, times: int, files: int, first: str) -> None:
        self.times += times
        self.files += files
        self.first = min(filter(None, (self.first, first)), default="")


class Notices:
    """What was noticed, the same things counted together."""

    def __init__(self) -> None:
        self._counted: dict[str, _Counted] = {}

    def add(self, what: str, *, times: int = 1, files: int = 1, first: str = "") -> None:
        self._counted.setdefault(what, _Counted()).add(times, files, first)

    def sentences(self) -> list[str]:
        """A line for each thing: ``IUPAC's letters read as N: 12 in 2 files, first in a.fa``."""
        return [_sentence(what, counted) for what, counted in self._counted.items()]

    def state(self) -> dict[str, Any]:
        """As JSON has it, for `merge`."""
        return {what: asdict(counted) for what, counted in self._counted.items()}

    def merge(self, state: dict[str, Any]) -> None:
        for what, counted in state.items():
            self.add(what, **counted)


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
    _open[-1].add(what, times=times, files=bool(file), first=str(file))


@contextmanager
def collected() -> Iterator[Notices]:
    """Collect what is noticed inside, from all threads; nothing is printed."""
    notices = Notices()
    _open.append(notices)
    try:
        yield notices
    finally:
        _open.remove(notices)


def repeat(state: dict[str, Any]) -> None:
    """Notice again what `Notices.state` says."""
    for what, counted in state.items():
        if _open:
            _open[-1].add(what, **counted)
        else:
            print(_sentence(what, _Counted(**counted)), flush=True)
