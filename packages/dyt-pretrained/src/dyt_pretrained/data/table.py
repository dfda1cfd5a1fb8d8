"""A table: its columns, read by Arrow, and the rows to train on and to hold out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dyt_bench.plugin.domain import DataError, listed, quoted, reason
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import check_apart
from dyt_pretrained import files
from dyt_pretrained.checkpoint import tokens

_HELD_OUT = 0.2  # a fifth
_SEED = 0  # one split for every seed: seeds vary the training, not the split
_TRAIN = {"train", "training"}
_OTHERS = {"val", "valid", "validation", "dev", "test", "testing"}
# A column of whole numbers with more different values than this is a quantity, no class.
_CLASSES = 20


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length; a missing value is None."""

    source: str  # for messages
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> Sequence[Any]:
        """The column called ``name``.

        Raises:
            DataError: there is none, or it has no value in a row.
        """
        _check_column(self.source, name, self.columns)
        values = self.columns[name]
        for number, value in enumerate(values, start=1):
            if value is None or value == "":
                raise DataError(
                    f"{self.source}, row {number}: {quoted(name)} has no value: fill it, or remove "
                    "the row"
                )
        return values


def _check_column(source: str, name: str, columns: Collection[str]) -> None:
    if name not in columns:
        near = get_close_matches(name, list(columns), n=1)
        guess = f"; did you mean {quoted(near[0])}?" if near else ""
        raise DataError(
            f"{source} has no column {quoted(name)}: expected one of {listed(columns)}{guess}"
        )


def check_options(path: Path | None, options: Mapping[str, str]) -> None:
    """Raise DataError where an option names no column, or no length of a text.

    Args:
        path: of the table, whose header alone is read.
    """
    (file,) = files.table(path)
    columns = _header(file)
    for option in sorted({"label", "split", "text"} & set(options)):
        for name in options[option].split(",") if option == "text" else [options[option]]:
            _check_column(str(file), name.strip() if option == "text" else name, columns)
    if "length" in options:
        tokens(options["length"])


def read_table(file: Path) -> Table:
    """The table in a .csv, .tsv, .jsonl or .parquet file.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    with _reading(file):
        columns = _arrow(file).to_pydict()
    table = Table(str(file), columns)
    if not len(table):
        raise DataError(f"{file} has no rows: expected a header and a sample a row")
    return table


def _header(file: Path) -> list[str]:
    with _reading(file):
        names: list[str] = _arrow(file, only_header=True).schema.names
    return names


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Arrow's own have no class in common
        raise DataError(f"{file} cannot be read as a table: {reason(error)}") from None


def _arrow(file: Path, *, only_header: bool = False) -> Any:
    """Arrow's table, or something else that has its schema."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        from pyarrow import parquet

        return parquet.ParquetFile(file) if only_header else parquet.read_table(file)
    if suffix == ".jsonl":
        from pyarrow import json

        return json.read_json(file)  # every row may bring a column
    from pyarrow import csv

    read = csv.open_csv if only_header else csv.read_csv
    return read(
        file,
        parse_options=csv.ParseOptions(
            delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True
        ),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
    )


def is_quantity(values: Sequence[Any]) -> bool:
    """Whether a column holds a number to predict, and no classes."""
    kinds = {type(value) for value in values}
    if not kinds <= {int, float}:
        return False
    return float in kinds or len(set(values)) > _CLASSES


def text_columns(table: Table, label: str | None, option: str | None) -> list[str]:
    """The columns that are read: those of the option, or all that hold text, or all others.

    Raises:
        DataError: one of the option is not there, or is the label; or none is left.
    """
    if option is not None:
        names = [name.strip() for name in option.split(",")]
        for name in names:
            table.column(name)
            if name == label:
                raise DataError(f"{quoted(name)} is the label, and cannot be read: it is predicted")
        return names
    rest = [name for name in table.columns if name != label]
    texts = [n for n in rest if any(isinstance(v, str | list) for v in table.columns[n])]
    if not rest:
        raise DataError(f"{table.source} has no column but the label: expected one to read")
    return texts or rest


def texts_of(table: Table, names: Sequence[str]) -> list[str]:
    """A text for each row: the column's, or of several columns ``name: value; name: value``."""
    columns = [table.column(name) for name in names]
    if len(columns) == 1:
        return [_shown(value) for value in columns[0]]
    return [
        "; ".join(f"{name}: {_shown(value)}" for name, value in zip(names, row, strict=True))
        for row in zip(*columns, strict=True)
    ]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


Sides = tuple[list[int], list[int]]  # rows to train on, rows held out


def divided(
    table: Table, texts: Sequence[Any], labels: Sequence[Any] | None, column: str | None
) -> Sides:
    """The rows to train on and those held out: by the column, or a fifth, every class the same.

    A text that occurs in several rows is one sample, its first row.

    Args:
        labels: of classes; None where there are none.
        column: that says which part each row is of.

    Raises:
        DataError: a part has no row, a class has one, or the column's parts share texts.
    """
    if column is not None:
        return _by_column(table, texts, column)
    first: dict[Any, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(_key(text), row)
    rows = sorted(first.values())
    if len(rows) < len(texts):
        notice(f"{table.source}: {len(texts) - len(rows):,} rows repeat a text, and are left out")
    train, held_out = _random(rows, labels, table.source)
    if not train or not held_out:
        raise DataError(
            f"{table.source}: {len(rows)} rows are too few: expected five at least, because a "
            "fifth is held out"
        )
    return train, held_out


def _random(rows: Sequence[int], labels: Sequence[Any] | None, source: str) -> Sides:
    """A fifth of each class, drawn at random, always the same."""
    classes: dict[Any, list[int]] = {}
    for row in rows:
        classes.setdefault(None if labels is None else labels[row], []).append(row)
    import numpy as np  # not before a table is divided: a catalogue is read without

    rng = np.random.default_rng(_SEED)
    held_out: list[int] = []
    for label, own in sorted(classes.items(), key=lambda item: str(item[0])):
        if len(own) < 2 and labels is not None:
            raise DataError(
                f"{source}: the class {quoted(label)} has one row: expected two or more, because "
                "one is held out; remove it, or name another label"
            )
        count = max(1, round(_HELD_OUT * len(own)))
        held_out += rng.permutation(own)[:count].tolist()
    chosen = set(held_out)
    return [row for row in rows if row not in chosen], sorted(held_out)


def _by_column(table: Table, texts: Sequence[Any], column: str) -> Sides:
    train: list[int] = []
    held_out: list[int] = []
    for row, value in enumerate(table.column(column)):
        part = str(value).lower()
        if part not in _TRAIN | _OTHERS:
            raise DataError(
                f"{table.source}, row {row + 1}: {quoted(column)} must say train, val or test, got "
                f"{quoted(value)}"
            )
        (train if part in _TRAIN else held_out).append(row)
    if not train or not held_out:
        raise DataError(
            f"{table.source}: {quoted(column)} says {'train' if train else 'val'} of every row: "
            "expected both"
        )
    named = ((_key(texts[row]), f"row {row + 1}") for row in held_out)
    check_apart((_key(texts[row]) for row in train), named, "rows", table.source)
    return train, held_out


def _key(text: Any) -> Any:
    return tuple(text) if isinstance(text, list) else text


def each(values: Sequence[Any], rows: Sequence[int]) -> Iterator[Any]:
    return (values[row] for row in rows)
