"""Read many files, and tell of all that cannot be read at once."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dyt_bench.errors import DataError
from dyt_bench.plugin.notices import notice

__all__ = ["Unreadable", "check_apart", "read_each"]

File = TypeVar("File", str, Path)
Read = TypeVar("Read")

_AT_ONCE = 64  # files that are read in parallel, before they are handed on in their order
_NAMED = 10  # of what is wrong; the rest is counted
_LONGEST = 300  # characters of one message among many
_MAY_BE_SHARED = 0.01  # of what is held out: published sets hold a few copies


def read_each(
    files: Iterable[File], read: Callable[[File], Read], *, skip: bool, threads: int = 1
) -> Iterator[tuple[File, Read]]:
    """Each file with what ``read`` makes of it, in order.

    Args:
        read: raises DataError for a file that cannot be read.
        skip: leave such files out and notice them; else they are an error once all are read.
        threads: that read at the same time.

    Raises:
        DataError: files cannot be read: how many, and the first ten with the reasons.
    """
    bad = Unreadable()

    def attempt(file: File) -> tuple[File, Read] | DataError:
        try:
            return file, read(file)
        except DataError as error:
            return error

    rest = iter(files)
    with ThreadPoolExecutor(min(threads, os.cpu_count() or 1)) as pool:
        # One thread holds one file at a time.
        while some := list(islice(rest, _AT_ONCE if threads > 1 else 1)):
            for result in pool.map(attempt, some):
                if isinstance(result, DataError):
                    bad.add(result)
                else:
                    bad.total += 1
                    yield result
    bad.tell(skip=skip)


class Unreadable:
    """Files that cannot be read, collected until all have been tried.

    Attributes:
        total: files that were tried.
    """

    def __init__(self) -> None:
        self._messages: list[str] = []
        self.total = 0

    def add(self, error: DataError) -> None:
        self._messages.append(str(error))
        self.total += 1

    def tell(self, *, skip: bool, how: str = "left out") -> None:
        """Raise the error, or notice what became of the files.

        Args:
            skip: as for `read_each`.
            how: "left out".

        Raises:
            DataError: there are such files, and they are not to be left out or nothing else is
                there: how many, and the first ten with the reasons.
        """
        bad = self._messages
        if not bad:
            return
        if skip and len(bad) < self.total:
            notice(f"{len(bad):,} of {self.total:,} files cannot be read and are {how}:{_ten(bad)}")
        elif len(bad) == 1:
            raise DataError(bad[0])
        else:
            raise DataError(
                f"{len(bad):,} of {self.total:,} files cannot be read; fix or remove them, or "
                f"leave them out with `skip_bad_files: true` in the suite's task:{_ten(bad)}"
            )


def _ten(messages: Sequence[str]) -> str:
    """The first ten, each shortened, and how many more there are."""
    shown = [_short(message) for message in messages[:_NAMED]]
    more = [f"and {len(messages) - _NAMED:,} more"] if len(messages) > _NAMED else []
    return "\n  ".join(["", *shown, *more])


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."


def check_apart(
    train: Iterable[Hashable],
    held_out: Iterable[tuple[Hashable, object]],
    what: str,
    source: object,
) -> None:
    """Check that what is held out is not trained on as well.

    Args:
        train: the content of each sample, or a hash of it.
        held_out: the same, each with a name for messages.
        what: samples are called: "images".
        source: names the data set in errors.

    Raises:
        DataError: more than a hundredth is on both sides. Less is noticed.
    """
    names = list(held_out)
    wanted = {content for content, _ in names}
    known = {content for content in train if content in wanted}
    shared = [str(name) for content, name in names if content in known]
    if not shared:
        return
    said = (
        f"{source}: {len(shared):,} of {len(names):,} held-out {what} are among those to train on, "
        f"too: {shared[0]}"
    )
    if len(shared) > _MAY_BE_SHARED * len(names):
        raise DataError(f"{said}; remove the copies: a model that repeats them has learned nothing")
    notice(said)
