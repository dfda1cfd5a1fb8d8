"""A column of text from Parquet and Arrow files, a value at a time."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dyt_bench.plugin.domain import DataError, listed, reason

# Not read through datasets: it copies files into a cache of its own, and reports what it loads to
# a server of its maker.

_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow's
_BUFFER = 2**20  # bytes of a Parquet column that are read at once
_AT_ONCE = 2**24  # bytes of its text that are decoded at once, about; a row at least
_ROWS = 1000  # the same, in rows at most


def column_values(file: Path) -> Iterator[tuple[str, Any]]:
    """The name of the column "text", or else of the only one that holds text, with each value.

    Memory follows from what is there, whatever numbers the file holds: of Parquet a part of one
    column is decoded at a time, a value that many rows have once; Arrow is mapped from the disk.

    Raises:
        DataError: the file is damaged or cut off, or has no such column.
    """
    number = 0
    values = _parquet(file) if file.suffix.lower() == ".parquet" else _arrow(file)
    try:
        for name, value in values:
            number += 1
            yield name, value.as_py()
    except DataError:
        raise
    except Exception as error:  # Arrow's own have no class in common
        said = reason(error)
        raise DataError(f"{file} cannot be read after row {number}: {said}") from error


def _parquet(file: Path) -> Iterator[tuple[str, Any]]:
    from pyarrow.parquet import ParquetFile, read_schema

    schema, number = read_schema(file), 0
    name = _text_column(file, schema)
    texts = [name] if _is_text(schema.field(name).type) else []
    open_ = partial(ParquetFile, file, buffer_size=_BUFFER)
    with open_() as whole, open_(read_dictionary=texts) as once:
        promised = whole.metadata.num_rows
        for group in range(whole.num_row_groups):
            rows, is_shared = _at_once(whole.metadata.row_group(group))
            parquet = once if is_shared else whole
            for batch in parquet.iter_batches(rows, row_groups=[group], columns=[name]):
                number += len(batch)
                for value in batch.column(0):
                    yield name, value
    if number != promised:
        raise DataError(f"{file} promises {promised:,} rows, and {number:,} are there")


def _at_once(group: Any) -> tuple[int, bool]:
    """How many rows of a row group to decode at once, and whether each value of many rows once.

    The second is for what is small because it repeats itself. Of other columns it would make one
    table of all values, again for each batch.
    """
    size = group.total_byte_size  # of all columns: asked for one that is damaged, Arrow aborts
    if size <= _AT_ONCE:
        return _AT_ONCE // 4, True  # numbers of values, of four bytes
    return max(1, min(_ROWS, _AT_ONCE * group.num_rows // size)), False


def _arrow(file: Path) -> Iterator[tuple[str, Any]]:
    """Of a file of Arrow's, or of a stream, as datasets saves them."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as content:
        is_file = content.read(6) == b"ARROW1"
        open_ = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
        content.seek(0)
        schema = open_(content).schema
        name = _text_column(file, schema)
        only = pyarrow.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name)])
        content.seek(0)
        reader = open_(content, options=only)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            batch.validate(full=True)  # offsets that point outside would end the process
            for value in batch.column(0):
                yield name, value
        if is_file:
            return
        # A stream that ends between two batches is read as if it were whole.
        content.seek(max(0, content.size() - len(_END)))
        if content.read() != _END:
            raise OSError("it is cut off: the mark of its end is missing")


def _text_column(file: Path, schema: Any) -> str:
    texts = [field.name for field in schema if _is_text(field.type)]
    if schema.names.count("text") == 1:
        return "text"
    if len(texts) == 1 == schema.names.count(texts[0]):
        return str(texts[0])
    raise no_column(file, schema.names)


def no_column(file: Path, names: list[str]) -> DataError:
    """What is raised where it is not clear which column is meant."""
    return DataError(
        f"{file}: expected a column 'text', or one column of text, got {listed(names)}"
    )


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
