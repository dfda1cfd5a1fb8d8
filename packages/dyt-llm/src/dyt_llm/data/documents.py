"""Documents of text files and tables, and which of them are held out."""

import codecs
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from os.path import commonpath
from pathlib import Path
from zlib import crc32

from dyt_bench.plugin.domain import DataError
from dyt_llm.data.files import TABLES
from dyt_llm.data.tables import read_rows

ONE_IN = 10  # files, by the hash of their names, are held out
FEW_FILES = 5  # of fewer, the end of each is held out instead
ONE_ROW_IN = 100  # is held out, of tables without a part to validate on
# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_VALIDATION = re.compile(r"(^|[-_./])(validation|valid|val|dev|test)([-_./]|$)")

Document = tuple[str, bool]  # text, whether it is held out


def documents(files: Iterable[Path]) -> Iterator[Document]:
    """Every document of text files, then of tables, in the order of the files.

    A hash of its name decides whether a text file is held out, so adding or removing a file moves
    no other. With fewer than five files, or one name for all, the last tenth of each is held out.
    Of tables, the parts named validation, test and the like are held out; without such parts, one
    row in a hundred.

    Raises:
        DataError: a file cannot be read, or is not text.
    """
    files = list(files)
    tables = [file for file in files if file.suffix.lower() in TABLES]
    yield from _text_documents([file for file in files if file not in set(tables)])
    yield from _table_documents(tables)


def read_text(file: Path) -> str:
    """A text file's content, in UTF-8 or what its byte-order mark or Python coding line says.

    Raises:
        DataError: it is in another encoding, or not text; says at which byte.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    encoding = _encoding(file, raw)
    if encoding == "utf-8" and b"\0" in raw:
        raise DataError(
            f"{file}: byte {raw.index(0)} is NUL: is it UTF-16 without a byte-order mark, or no "
            "text? Convert the file to UTF-8, or move it elsewhere"
        )
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: byte {error.start} (0x{raw[error.start]:02x}) is not {encoding}: convert the "
            "file, for example from Latin-1 with `iconv -f LATIN1 -t UTF-8`"
        ) from None


def _encoding(file: Path, raw: bytes) -> str:
    marked = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    if marked is not None or file.suffix.lower() != ".py":
        return marked or "utf-8"
    try:
        return tokenize.detect_encoding(io.BytesIO(raw).readline)[0]
    except SyntaxError:  # an unknown name, or bytes that are not UTF-8: decoding says which
        return "utf-8"


def _text_documents(files: list[Path]) -> Iterator[Document]:
    hashes = {file.name: crc32(file.name.encode()) for file in files}
    held_out = {name for name, value in hashes.items() if value % ONE_IN == 0}
    held_out = held_out or set(sorted(hashes, key=hashes.__getitem__)[:1])
    by_name = len(files) >= FEW_FILES and held_out != hashes.keys()
    for file in files:
        text = read_text(file)
        if by_name:
            yield text, file.name in held_out
        else:
            cut = len(text) - len(text) // ONE_IN
            yield text[:cut], False
            yield text[cut:], True


def _table_documents(files: list[Path]) -> Iterator[Document]:
    named = _named_validation(files)
    row = 0
    for file in files:
        for text in read_rows(file):
            yield text, file in named if named else row % ONE_ROW_IN == 0
            row += 1


def _named_validation(files: list[Path]) -> set[Path]:
    """The files whose names say that they are for validation; empty if that is true of all."""
    if len(files) < 2:
        return set()
    root = commonpath([file.parent for file in files])
    named = {file for file in files if _VALIDATION.search(str(file.relative_to(root)).lower())}
    return named if len(named) < len(files) else set()
