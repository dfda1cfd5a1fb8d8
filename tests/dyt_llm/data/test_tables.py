"""Rows of JSON Lines, Parquet and Arrow files, and damaged ones."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dyt_bench.plugin.domain import DataError
from dyt_llm.data.documents import documents
from dyt_llm.data.tables import read_rows

ROWS = [{"id": index, "text": f"document {index}"} for index in range(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows as the Hub has them, as people send them, and as the library saves them."""
    root = tmp_path_factory.mktemp("tables")
    for name, rows in (
        ("saved/data-00000-of-00001", ROWS),
        ("parts/train/data-00000-of-00001", ROWS[:150]),
        ("parts/validation/data-00000-of-00001", ROWS[150:]),
    ):
        file = root / f"{name}.arrow"
        file.parent.mkdir(parents=True)
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.ipc.new_stream(str(file), table.schema) as stream:
            stream.write_table(table, max_chunksize=70)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), root / "rows.parquet")
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return root


@pytest.mark.parametrize("pattern", ["rows.jsonl", "rows.parquet", "saved/*.arrow"])
def test_every_row_is_a_document(folder: Path, pattern: str) -> None:
    (file,) = folder.glob(pattern)
    assert list(read_rows(file)) == [row["text"] for row in ROWS]
    held_out = [text for text, held in documents([file]) if held]
    assert held_out == ["document 0", "document 100"]


def test_a_part_named_validation_is_held_out(folder: Path) -> None:
    files = sorted((folder / "parts").rglob("*.arrow"))
    held_out = [text for text, held in documents(files) if held]
    assert held_out == [row["text"] for row in ROWS[150:]]


def test_the_only_column_of_text_is_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1, "content": "one"}\n')
    assert list(read_rows(tmp_path / "a.jsonl")) == ["one"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"a": "x", "b": "y"}\n', "expected a column 'text'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": null}\n', "row 2: expected text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "row 2: Expecting value"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "row 1: 'utf-8' codec can't decode byte 0xe9"),
        ("a.jsonl", b'["x"]\n', "row 1: expected an object"),
        ("a.parquet", b"PAR1 and no more", "cannot be read after row 0"),
        ("a.arrow", b"no table", "cannot be read after row 0"),
    ],
)
def test_a_damaged_table_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert said in str(caught.value)
