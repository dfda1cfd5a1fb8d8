"""Rows of text from JSON, Parquet and Arrow files, read one at a time."""

import gzip
import io
import json
import reprlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from dyt_bench.plugin.domain import DataError, quoted, reason
from dyt_bench.plugin.notices import notice
from dyt_llm.data.files import JSON_LINES

# Not read through datasets: it copies files into a cache of its own, and reports what it loads to
# a server of its maker.

_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow's


def read_rows(file: Path) -> Iterator[str]:
    """The text of each row: the column "text", or else the only one that holds text.

    JSON is a row on each line, or one array of rows.

    Raises:
        DataError: the file is damaged or cut off, has no such column, or a row has no text.
    """
    number, column = 0, ""
    is_json = file.name.lower().endswith(tuple(JSON_LINES))
    rows = _json_rows(file) if is_json else _arrow_rows(file)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{file}, row {number}: expected an object, got {_shown(row)}")
        column = column or _column(file, row)
        text = row.get(column)
        if not isinstance(text, str):
            raise DataError(
                f"{file}, row {number}: expected text in {quoted(column)}, got {_shown(text)}"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{file}, row {number}: {quoted(column)} holds half of a character that JSON "
                "writes in two parts (a lone surrogate): remove it"
            ) from None
        yield text


def _shown(value: object) -> str:
    return reprlib.repr(value)


def _json_rows(file: Path) -> Iterator[Any]:
    number = 0
    try:
        with _opened(file) as lines:
            first = lines.readline()
            while first and not first.strip():
                first = lines.readline()
            if first.strip() == b"{":  # written over many lines, as settings are
                notice("JSON files that hold one object and no rows, left out", file)
                return
            if _begins_an_array(first):
                yield from json.loads(first + lines.read())
                return
            for line in chain([first], lines):
                number += 1
                if line.strip():
                    yield json.loads(line)
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise DataError(f"{file}, row {number}: {reason(error)}") from None
    except (OSError, EOFError) as error:  # of a packed file that is cut off
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


def _arrow_rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        if file.suffix.lower() == ".parquet":
            parquet = ParquetFile(file)
            batches, promised = parquet.iter_batches(batch_size=1000), parquet.metadata.num_rows
        else:
            batches, promised = _arrow_batches(file), None
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield row
    except (pyarrow.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{file} cannot be read after row {number}: {said}") from error
    if promised is not None and number != promised:
        raise DataError(f"{file} promises {promised:,} rows, and {number:,} are there")


def _arrow_batches(file: Path) -> Iterator[Any]:
    """Of a file of Arrow's, or of a stream, as datasets saves them."""
    import pyarrow

    content = pyarrow.memory_map(str(file))
    if content.read(6) == b"ARROW1":
        reader = pyarrow.ipc.open_file(content)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        return
    content.seek(0)
    yield from pyarrow.ipc.open_stream(content)
    # A stream that ends between two batches is read as if it were whole.
    content.seek(max(0, content.size() - len(_END)))
    if content.read() != _END:
        raise OSError("it is cut off: the mark of its end is missing")


def _column(file: Path, row: dict[str, Any]) -> str:
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if "text" in row:
        return "text"
    if len(texts) == 1:
        return texts[0]
    raise DataError(
        f"{file}: expected a column 'text', or one column of text, got {', '.join(row)}"
    )
