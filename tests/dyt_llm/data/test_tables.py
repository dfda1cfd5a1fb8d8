"""Rows of JSON Lines, Parquet and Arrow files, and damaged ones."""

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.notices import collected
from dyt_llm.data import tables
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
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for name in ("rows.jsonl", "rows.ndjson", "lines.json"):
        (root / name).write_text(lines)
    (root / "array.json").write_text(json.dumps(ROWS, indent=1))
    (root / "array.jsonl").write_text(json.dumps(ROWS))
    halves = [lines[: len(lines) // 2], lines[len(lines) // 2 :]]
    for suffix in ("jsonl.gz", "json.gz"):  # of two members, as parts that were joined are
        packed = b"".join(gzip.compress(half.encode()) for half in halves)
        (root / f"packed.{suffix}").write_bytes(packed)
    with pyarrow.CompressedOutputStream(str(root / "packed.jsonl.zst"), "zstd") as stream:
        stream.write(lines.encode())
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_file(str(root / "file.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=70)
    return root


@pytest.mark.parametrize(
    "pattern",
    [
        *("rows.jsonl", "rows.ndjson", "lines.json", "array.json", "array.jsonl", "rows.parquet"),
        *("packed.jsonl.gz", "packed.json.gz", "packed.jsonl.zst", "saved/*.arrow", "file.arrow"),
    ],
)
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


def test_settings_in_json_are_no_rows_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(json.dumps({"text": "x"}, indent=2))
    with collected() as notices:
        assert list(read_rows(tmp_path / "package.json")) == []
    (said,) = notices.sentences()
    assert said.startswith("JSON files that hold one object and no rows, left out: 1, in ")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"a": "x", "b": "y"}\n', "expected a column 'text'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": null}\n', "row 2: expected text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "row 2: Expecting value"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "row 1: 'utf-8' codec can't decode byte 0xe9"),
        ("a.jsonl", b'["x"]\n', "row 1: expected an object"),
        ("a.jsonl", b'{"text": "half \\ud83d"}\n', "row 1: 'text' holds half of a character"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "row 1: "),
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
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "pattern",
    ["packed.jsonl.gz", "packed.jsonl.zst", "rows.parquet", "saved/*.arrow", "file.arrow"],
)
def test_a_table_cut_off_is_named_wherever_it_is_cut(
    folder: Path, pattern: str, tmp_path: Path
) -> None:
    (whole,) = folder.glob(pattern)
    content = whole.read_bytes()
    file = tmp_path / whole.name
    for keep in [*range(1, len(content), max(1, len(content) // 40)), len(content) - 1]:
        file.write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"cannot be read after row|row \d+: |promises"):
            list(read_rows(file))


def test_a_stream_without_its_end_is_cut_off(folder: Path, tmp_path: Path) -> None:
    """Arrow itself reads what ends between two batches as if it were whole."""
    (whole,) = folder.glob("saved/*.arrow")
    (tmp_path / "a.arrow").write_bytes(whole.read_bytes()[:-8])
    with pytest.raises(DataError, match="after row 200: it is cut off: the mark of its end"):
        list(read_rows(tmp_path / "a.arrow"))


def test_all_damaged_files_are_named_at_once_or_left_out(tmp_path: Path) -> None:
    good = [tmp_path / f"good{n}.txt" for n in range(6)]
    for number, file in enumerate(good):
        file.write_text(f"text {number}" * 100)
    bad = [tmp_path / f"bad{n}.txt" for n in range(3)]
    for file in bad:
        file.write_bytes(b"caf\xe9")
    tables = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    tables[0].write_text('{"text": "one"}\n{"text": "two"}\n{}\n{"text": "four"}\n')
    tables[1].write_text('{"text": "five"}\n')
    with pytest.raises(DataError, match=r"3 of 9 files cannot be read; .*(\n  .*bad\d.txt.*){3}"):
        list(documents([*good, *bad]))
    with collected() as notices:
        texts = [text for text, _ in documents([*good, *bad, *tables], skip=True)]
    assert texts[-3:] == ["one", "two", "five"]
    assert len(texts) == len(good) + 3
    assert "3 of 9 files cannot be read and are left out:" in notices.sentences()[0]
    assert "1 of 2 files cannot be read and are left out from there on" in notices.sentences()[1]
    assert "a.jsonl, row 3: expected text" in notices.sentences()[1]


def test_a_document_on_both_sides_is_refused(tmp_path: Path) -> None:
    text = "the same words again and again " * 20
    for part in ("train", "validation"):
        rows = [{"text": text}, {"text": f"{part} {text}"}]
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="1 of 2 held-out documents are among those to train on"):
        list(documents(sorted(tmp_path.iterdir())))


_POOLS: list[pyarrow.MemoryPool] = []  # kept: Arrow's buffers do not keep theirs


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Arrow holds no more than so many bytes inside."""
    before = pyarrow.default_memory_pool()
    counted = pyarrow.proxy_memory_pool(pyarrow.system_memory_pool())
    _POOLS.append(counted)
    pyarrow.set_memory_pool(counted)
    try:
        yield
    finally:
        pyarrow.set_memory_pool(before)
    assert counted.max_memory() < size


def test_a_large_row_group_is_read_in_parts_and_other_columns_not_at_all(tmp_path: Path) -> None:
    texts = [random.Random(n).randbytes(4_000).hex() for n in range(3_000)]
    table = pyarrow.table({"image": [text.encode() for text in texts], "text": texts})
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, file, compression="none")
    assert pyarrow.parquet.read_metadata(file).num_row_groups == 1
    assert file.stat().st_size > 40 * 2**20
    with at_most(40 * 2**20):
        assert list(read_rows(file)) == texts


def test_a_large_batch_is_not_copied(tmp_path: Path) -> None:
    texts = [random.Random(n).randbytes(4_000).hex() for n in range(1_000)]
    table = pyarrow.table({"image": [text.encode() for text in texts], "text": texts})
    with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as stream:
        stream.write_table(table)
    with at_most(2**20):
        assert list(read_rows(tmp_path / "a.arrow")) == texts


def repeated(file: Path, text: str, times: int) -> None:
    """A file that holds one text and the number of its rows, or that a few bytes stand for."""
    column = pyarrow.array([text]).dictionary_encode()
    if file.suffix == ".parquet":
        rows = pyarrow.DictionaryArray.from_arrays([0] * times, column.dictionary)
        pyarrow.parquet.write_table(pyarrow.table({"text": rows}), file)
    else:
        lines = (json.dumps({"text": text}) + "\n").encode() * times
        packed = pyarrow.compress(lines, codec="zstd", asbytes=True)
        file.write_bytes(packed if file.suffix == ".zst" else gzip.compress(lines))


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_few_bytes_do_not_unpack_to_any_amount(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_AT_LEAST", 2**20)
    monkeypatch.setattr(tables, "_UNPACKS", 30)
    repeated(tmp_path / name, "x" * 10_000, 10_000)
    with at_most(2**22) if name.endswith("parquet") else nullcontext():
        rows = read_rows(tmp_path / name)
        with pytest.raises(DataError, match=r"row \d+: the file unpacks to more than [\d,]+ bytes"):
            assert sum(map(len, rows)) <= 2**20


@pytest.mark.parametrize("begin", [b'{"text": "', b'[{"text": "'])
def test_a_line_without_an_end_is_not_read_whole(
    begin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LONGEST", 2**16)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(begin + b"x" * 2**20))
    with pytest.raises(DataError, match="it has more than 65,536 bytes"):
        list(read_rows(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize(
    "pattern",
    ["packed.jsonl.gz", "packed.jsonl.zst", "rows.parquet", "saved/*.arrow", "file.arrow"],
)
def test_damage_anywhere_gives_rows_or_one_sentence(
    folder: Path, pattern: str, tmp_path: Path
) -> None:
    (whole,) = folder.glob(pattern)
    content, chance = whole.read_bytes(), random.Random(0)
    file = tmp_path / whole.name
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 4])):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(damaged)
        with suppress(DataError):
            assert all(isinstance(text, str) for text in read_rows(file))


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    column = pyarrow.array([b"caf\xe9"]).cast(pyarrow.string(), safe=False)
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'utf-8' codec can't decode byte 0xe9"):
        list(read_rows(tmp_path / "a.parquet"))


def test_an_offset_outside_of_the_batch_is_an_error(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", "two"]})
    file = tmp_path / "a.arrow"
    with pyarrow.ipc.new_stream(str(file), table.schema) as stream:
        stream.write_table(table)
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 3, 6))
    assert file.read_bytes().count(offsets) == 1
    outside = offsets[:8] + (2**30).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(offsets, outside))
    with pytest.raises(DataError, match="cannot be read after row 0"):
        list(read_rows(file))
