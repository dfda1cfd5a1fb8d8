"""Errors that a user can fix: one sentence each, shown without a traceback, exit status 2."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

Entry = TypeVar("Entry")
QUOTED = 200  # characters of a user's value in a message, at most


class UserError(ValueError):
    """The message says what is wrong, where, what was expected and how to fix it."""


class DataError(UserError):
    """The user's data is missing, or is not what the data set needs."""


class CannotWrite(UserError):
    """A record cannot be written, most often because the disk is full; the run stops."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.path, self.error = path, error

    def __str__(self) -> str:
        reason = os.strerror(self.error.errno) if self.error.errno else str(self.error)
        return (
            f"cannot write {self.path}: {reason}; what was written before is whole: make room "
            "and repeat the command, which resumes"
        )


def quoted(value: object) -> str:
    """``repr(value)`` on one line, cut to 200 characters; takes no longer for a larger value.

    Example:
        >>> quoted("wether"), len(quoted(["x" * 10**6] * 10**6))
        ("'wether'", 200)
    """
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > QUOTED:
            break
    return shortened(text)


def entry(table: Mapping[str, Entry], name: str, what: str) -> Entry:
    """What ``table`` has under ``name``.

    Args:
        what: the argument's name: "model", "dataset".

    Raises:
        UserError: it has nothing; the message lists what there is.
    """
    if name not in table:
        raise UserError(f"{what} must be one of {listed(table)}, got {quoted(name)}")
    return table[name]


def shortened(text: str) -> str:
    """The text on one line, cut to 200 characters."""
    line = " ".join(text[: 2 * QUOTED].splitlines())
    return line if len(line) <= QUOTED else line[: QUOTED - 3] + "..."


def printable(text: str) -> str:
    """The text with what no terminal and no file takes written out: ``\\x1b``, ``\\udcff``.

    Lines and tabs stay. Control characters would be obeyed by a terminal, and a name that is not
    UTF-8 cannot be written.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else _written_out(letter)
        for letter in text
    )


def _written_out(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")


def reason(error: BaseException) -> str:
    """What an error of a library says, on one line of at most 200 characters; or its class.

    Some say nothing, and parsers quote what they could not read: a line of a gigabyte, perhaps.
    """
    return shortened(str(error).strip()) or type(error).__name__


def listed(names: Iterable[object]) -> str:
    """The names, separated by commas, as many as fit 200 characters: ``a, b and 7 more``."""
    texts = [shortened(str(name)) for name in names]
    shown, length = 0, 0
    while shown < len(texts) and (not shown or length + len(texts[shown]) <= QUOTED):
        length += len(texts[shown]) + 2
        shown += 1
    rest = f" and {len(texts) - shown} more" if shown < len(texts) else ""
    return (", ".join(texts[:shown]) or "none") + rest


def _pieces(value: object) -> Iterator[str]:
    """``repr(value)`` in parts, the first without looking at the others."""
    kinds: dict[type, str] = {list: "[]", tuple: "()", dict: "{}"}
    brackets = kinds.get(type(value))
    if isinstance(value, str | bytes):
        yield repr(value[: QUOTED + 1])
    elif type(value) is int and value.bit_length() > 8 * QUOTED:
        yield f"a number of {value.bit_length():,} bits"  # too long for Python to write in decimal
    elif brackets is None:
        yield repr(value)
    else:
        yield brackets[0]
        yield from _items(value)
        yield brackets[1]


def _items(value: Any) -> Iterator[str]:
    for number, item in enumerate(value):
        yield ", " if number else ""
        yield from _pieces(item)
        if isinstance(value, dict):
            yield ": "
            yield from _pieces(value[item])
        elif isinstance(value, tuple) and len(value) == 1:
            yield ","
