"""Rows of text from JSON Lines, Parquet and Arrow files, read one at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dyt_bench.plugin.domain import DataError

# Not read through datasets: it copies files into a cache of its own, and reports what it loads to
# a server of its maker.


def read_rows(file: Path) -> Iterator[str]:
    """The text of each row: the column "text", or else the only one that holds text.

    Raises:
        DataError: the file is damaged, has no such column, or a row has no text.
    """
    number, column = 0, ""
    rows = _json_lines(file) if file.suffix.lower() == ".jsonl" else _arrow_rows(file)
    for number, row in enumerate(rows, start=1):
        column = column or _column(file, row)
        text = row.get(column)
        if not isinstance(text, str):
            raise DataError(f"{file}, row {number}: expected text in {column!r}, got {text!r}")
        yield text


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # not JSON, or not UTF-8
                raise DataError(f"{file}, row {number}: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}, row {number}: expected an object, got {row!r}")
            yield row


def _arrow_rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        if file.suffix.lower() == ".parquet":
            batches = ParquetFile(file).iter_batches(batch_size=1000)
        else:  # a stream, as datasets saves them
            batches = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file)))
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield row
    except (pyarrow.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{file} cannot be read after row {number}: {said}") from error


def _column(file: Path, row: dict[str, Any]) -> str:
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if "text" in row:
        return "text"
    if len(texts) == 1:
        return texts[0]
    raise DataError(
        f"{file}: expected a column 'text', or one column of text, got {', '.join(row)}"
    )
