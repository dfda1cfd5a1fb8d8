"""Documents of text files and tables, and which of them are held out."""

import codecs
import io
import re
import tokenize
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from os.path import commonpath
from pathlib import Path
from zlib import crc32

from dyt_bench.plugin.domain import DataError, reason, shortened
from dyt_bench.plugin.reading import Unreadable, check_apart, read_each
from dyt_llm.data.files import is_table
from dyt_llm.data.tables import read_rows

ONE_IN = 10  # files, by the hash of their names, are held out
FEW_FILES = 5  # of fewer, the end of each is held out instead
ONE_ROW_IN = 100  # is held out, of tables without a part to validate on
_LONG = 200  # characters from which on two equal documents are copies, not chance
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


def documents(files: Iterable[Path], *, skip: bool = False) -> Iterator[Document]:
    """Every document of text files, then of tables, in the order of the files.

    A hash of its name decides whether a text file is held out, so adding or removing a file moves
    no other. With fewer than five files, or one name for all, the last tenth of each is held out.
    Of tables, the parts named validation, test and the like are held out; without such parts, one
    row in a hundred.

    Args:
        skip: leave out text files that cannot be read, and the rest of tables from the first row
            that cannot; else they are an error.

    Raises:
        DataError: files cannot be read, or are not text; or more than a hundredth of the longer
            documents held out are among those to train on as well.
    """
    files = list(files)
    tables = [file for file in files if is_table(file)]
    texts = [file for file in files if not is_table(file)]
    sources = _text_documents(texts, skip), _table_documents(tables, skip)
    yield from _apart(chain(*sources), commonpath(files) if files else "")


def _apart(found: Iterable[Document], source: str) -> Iterator[Document]:
    """The documents; checks at the end that none is on both sides."""
    train, held_out = array("q"), []
    for text, held in found:
        if len(text) >= _LONG:
            content = _hash(text)
            if held:
                held_out.append((content, repr(text[:40])))
            else:
                train.append(content)
        yield text, held
    check_apart(train, held_out, "documents", source)


def _hash(text: str) -> int:
    """64 bits of a hash of the text."""
    raw = text.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big", signed=True)


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
        text = raw.decode(encoding)
        text.encode()  # half a character of two parts, which some encodings can write
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: byte {error.start} (0x{raw[error.start]:02x}) is not {shortened(encoding)}: "
            "convert the file, for example from Latin-1 with `iconv -f LATIN1 -t UTF-8`"
        ) from None
    except Exception as error:  # of a codec that is none of text: rot13, hex
        raise DataError(
            f"{file} says that it is encoded in {shortened(encoding)}, and cannot be read so: "
            f"{reason(error)}; convert the file to UTF-8"
        ) from None
    return text


def _encoding(file: Path, raw: bytes) -> str:
    marked = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    if marked is not None or file.suffix.lower() != ".py":
        return marked or "utf-8"
    try:
        return tokenize.detect_encoding(io.BytesIO(raw).readline)[0]
    except SyntaxError:  # an unknown name, or bytes that are not UTF-8: decoding says which
        return "utf-8"


def _text_documents(files: list[Path], skip: bool) -> Iterator[Document]:
    hashes = {file.name: crc32(file.name.encode()) for file in files}
    held_out = {name for name, value in hashes.items() if value % ONE_IN == 0}
    held_out = held_out or set(sorted(hashes, key=hashes.__getitem__)[:1])
    by_name = len(files) >= FEW_FILES and held_out != hashes.keys()
    for file, text in read_each(files, read_text, skip=skip):
        if by_name:
            yield text, file.name in held_out
        else:
            cut = len(text) - len(text) // ONE_IN
            yield text[:cut], False
            yield text[cut:], True


def _table_documents(files: list[Path], skip: bool) -> Iterator[Document]:
    named = _named_validation(files)
    row, bad = 0, Unreadable()
    for file in files:
        try:
            for text in read_rows(file):
                yield text, file in named if named else row % ONE_ROW_IN == 0
                row += 1
        except DataError as error:
            bad.add(error)
        else:
            bad.total += 1
    bad.tell(skip=skip, how="left out from there on")


def _named_validation(files: list[Path]) -> set[Path]:
    """The files whose names say that they are for validation; empty if that is true of all."""
    if len(files) < 2:
        return set()
    root = commonpath([file.parent for file in files])
    named = {file for file in files if _VALIDATION.search(str(file.relative_to(root)).lower())}
    return named if len(named) < len(files) else set()
