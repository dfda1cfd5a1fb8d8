"""Rows of text from JSON, Parquet and Arrow files, read one at a time."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from dyt_bench.plugin.domain import DataError, quoted, reason
from dyt_bench.plugin.notices import notice
from dyt_llm.data.columns import column_values, no_column
from dyt_llm.data.files import JSON_LINES

# A packed file may hold any amount of text in a few bytes. People's text is packed to a hundredth
# at best, and gzip packs to a thousandth.
_UNPACKS = 1000
_AT_LEAST = 2**26  # bytes that any file may unpack to
_LONGEST = 2**30  # bytes of a line, or of a file that is one array


def read_rows(file: Path) -> Iterator[str]:
    """The text of each row: the column "text", or else the only one that holds text.

    JSON is a row on each line, or one array of rows.

    Raises:
        DataError: the file is damaged or cut off, has no such column, or a row has no text. Or it
            unpacks to more than a thousand times its size, or a line to more than a GiB.
    """
    left = most = _most(file)
    is_json = file.name.lower().endswith(tuple(JSON_LINES))
    values = _json_values(file) if is_json else column_values(file)
    for number, (column, text) in enumerate(values, start=1):
        if not isinstance(text, str):
            raise DataError(
                f"{file}, row {number}: expected text in {quoted(column)}, got {quoted(text)}"
            )
        try:
            left -= len(text.encode())
        except UnicodeEncodeError:
            raise DataError(
                f"{file}, row {number}: {quoted(column)} holds half of a character that JSON "
                "writes in two parts (a lone surrogate): remove it"
            ) from None
        if left < 0:
            raise DataError(
                f"{file}, row {number}: the file unpacks to more than {most:,} bytes of text, "
                f"{_UNPACKS:,} times its size: it repeats itself, or is not what it seems"
            )
        yield text


def _most(file: Path) -> int:
    """Bytes that the file may unpack to."""
    try:
        return max(_AT_LEAST, _UNPACKS * file.stat().st_size)
    except OSError as error:
        raise DataError(f"{file} cannot be read after row 0: {error.strerror}") from None


def _json_values(file: Path) -> Iterator[tuple[str, Any]]:
    """The name of the column, and each row's value in it."""
    column = ""
    for number, row in enumerate(_json_rows(file), start=1):
        if not isinstance(row, dict):
            raise DataError(f"{file}, row {number}: expected an object, got {quoted(row)}")
        column = column or _column(file, row)
        yield column, row.get(column)


def _json_rows(file: Path) -> Iterator[Any]:
    number, most = 0, min(_LONGEST, _most(file))

    def bounded(content: bytes) -> bytes:
        if len(content) > most:
            raise ValueError(
                f"it has more than {most:,} bytes, the most that are read at once of this file: "
                "write each row on a line of its own"
            )
        return content

    try:
        with _opened(file) as lines:
            following = map(bounded, iter(partial(lines.readline, most + 1), b""))
            first = next((line for line in following if line.strip()), b"")
            if first.strip() == b"{":  # written over many lines, as settings are
                notice("JSON files that hold one object and no rows, left out", file)
                return
            if _begins_an_array(first):
                yield from json.loads(bounded(first + lines.read(most + 1)))
                return
            for line in chain([first], following):
                number += 1
                if line.strip():
                    yield json.loads(line)
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise DataError(f"{file}, row {number}: {reason(error)}") from None
    except (OSError, EOFError, zlib.error) as error:  # of a packed file
        raise DataError(f"{file} cannot be read after row {number}: {reason(error)}") from None


def _begins_an_array(line: bytes) -> bool:
    """Whether the line is, or begins, an array of objects; not a row that is an array."""
    begun = line.strip()
    return begun == b"[" or (begun[:1] == b"[" and begun[1:].lstrip()[:1] == b"{")


def _opened(file: Path) -> IO[bytes]:
    if file.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(file, "rb"))
    if file.suffix.lower() == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"))
    return file.open("rb")


def _column(file: Path, row: dict[str, Any]) -> str:
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if "text" in row:
        return "text"
    if len(texts) == 1:
        return texts[0]
    raise no_column(file, list(row))
