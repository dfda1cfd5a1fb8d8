"""The verses of the King James Bible from Genesis to Judges, as a table."""

from collections.abc import Iterator
from pathlib import Path

from dyt_pretrained.data.table import Table

# How each book after Genesis begins.
_BEGINNINGS = {
    "Exodus": "Now these are the names of the children of Israel, which came into Egypt",
    "Leviticus": "And the LORD called unto Moses, and spake unto him out of the tabernacle",
    "Numbers": "And the LORD spake unto Moses in the wilderness of Sinai, in the tabernacle",
    "Deuteronomy": "These be the words which Moses spake unto all Israel on this side Jordan",
    "Joshua": "Now after the death of Moses the servant of the LORD it came to pass",
    "Judges": "Now after the death of Joshua it came to pass, that the children of Israel",
}


def read_verses(file: Path) -> Table:
    """Columns ``text``, ``book`` and ``letters``; every second verse, the others are `to_learn`."""
    rows = [(text, book, len(text)) for text, book in list(_verses(file))[1::2]]
    texts, books, letters = zip(*rows, strict=True)
    return Table(str(file), {"text": texts, "book": books, "letters": letters})


def to_learn(file: Path) -> list[str]:
    """The verses that an encoder learns from, without their books."""
    return [text for text, _ in list(_verses(file))[::2]]


def _verses(file: Path) -> Iterator[tuple[str, str]]:
    """Each verse with its book."""
    book, following = "Genesis", dict(_BEGINNINGS)
    for line in file.read_text(encoding="ascii").splitlines():
        ahead = next(iter(following), "")
        if ahead and line.startswith(following[ahead]):
            book = ahead
            del following[ahead]
        yield line, book
