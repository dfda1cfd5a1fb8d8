"""Tables: their columns, their sides, and one sentence for what is wrong."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dyt_bench.plugin.domain import DataError
from dyt_pretrained.data.table import (
    Table,
    check_options,
    divided,
    is_quantity,
    read_table,
    text_columns,
    texts_of,
)

ROWS = [{"text": "a, b", "y": 1}, {"text": "c\nd", "y": 2}]


def table(**columns):
    return Table("t.csv", columns)


def test_every_format_holds_the_same(tmp_path):
    (tmp_path / "t.csv").write_text('text,y\n"a, b",1\n"c\nd",2\n')
    (tmp_path / "t.tsv").write_text('text\ty\na, b\t1\n"c\nd"\t2\n')
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.jsonl", "t.parquet"):
        found = read_table(tmp_path / name)
        assert list(found.column("text")) == ["a, b", "c\nd"]
        assert list(found.column("y")) == [1, 2]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_options_name_columns_of_the_header(tmp_path, suffix):
    file = tmp_path / f"t.{suffix}"
    columns = {"text": ["a"], "title": ["b"], "y": [1]}
    if suffix == "parquet":
        pq.write_table(pa.table(columns), file)
    elif suffix == "jsonl":
        file.write_text(json.dumps({name: values[0] for name, values in columns.items()}))
    else:
        comma = "\t" if suffix == "tsv" else ","
        file.write_text(comma.join(columns) + "\n" + comma.join("ab1") + "\n")
    check_options(file, {"label": "y", "text": "text, title", "length": "4"})
    for options, said in (
        ({"label": "z"}, "has no column 'z': expected one of"),
        ({"text": "text, tittle"}, "has no column 'tittle'.*did you mean 'title'"),
        ({"split": "part"}, "has no column 'part'"),
        ({"length": "3"}, "length must be a number of tokens, 4 or more, got '3'"),
    ):
        with pytest.raises(DataError, match=said):
            check_options(file, options)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("t.csv", "a,b\n1\n", "t.csv cannot be read as a table"),
        ("t.csv", "", "cannot be read as a table"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.jsonl", "{", "cannot be read as a table"),
        ("t.parquet", "PAR1", "cannot be read as a table"),
    ],
)
def test_what_is_no_table(name, text, what, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=what):
        read_table(tmp_path / name)


def test_a_column_that_is_not_there_or_has_gaps():
    found = table(price=[1, None], name=["a", "b"])
    with pytest.raises(DataError, match=r"no column 'prize': .* price, name; did you mean 'price'"):
        found.column("prize")
    with pytest.raises(DataError, match=r"t\.csv, row 2: 'price' has no value"):
        found.column("price")


def test_classes_and_quantities():
    assert is_quantity([0.5, 1.5])
    assert is_quantity(list(range(21)))
    assert not is_quantity([0, 1, 2, 1])
    assert not is_quantity(["a", "b"])
    assert not is_quantity([True, False])


def test_which_columns_are_read():
    found = table(y=[1, 2], title=["a", "b"], size=[0.5, 3.0])
    assert text_columns(found, "y", None) == ["title"]
    assert text_columns(found, "title", None) == ["y", "size"]
    assert text_columns(found, "y", "size, title") == ["size", "title"]
    assert texts_of(found, ["size", "title"]) == ["size: 0.5; title: a", "size: 3; title: b"]
    assert texts_of(found, ["title"]) == ["a", "b"]
    with pytest.raises(DataError, match="'y' is the label, and cannot be read"):
        text_columns(found, "y", "y")
    with pytest.raises(DataError, match="no column but the label"):
        text_columns(table(y=[1]), "y", None)


def test_a_fifth_of_every_class_is_held_out():
    texts, labels = [f"t{n}" for n in range(50)], [n % 2 for n in range(50)]
    train, held = divided(table(x=texts), texts, labels, None)
    assert sorted(train + held) == list(range(50))
    assert [labels[row] for row in held].count(0) == 5
    assert (train, held) == divided(table(x=texts), texts, labels, None)


def test_a_text_in_several_rows_is_one_sample():
    texts = [f"t{n % 10}" for n in range(30)]
    train, held = divided(table(x=texts), texts, None, None)
    assert sorted(train + held) == list(range(10))


def test_a_column_divides():
    texts, parts = list("abcd"), ["train", "Train", "test", "val"]
    assert divided(table(part=parts), texts, None, "part") == ([0, 1], [2, 3])


@pytest.mark.parametrize(
    ("texts", "labels", "parts", "what"),
    [
        ("ab", [0, 1], None, "the class 0 has one row: expected two or more"),
        ("a", None, None, "1 rows are too few"),
        ("ab", None, ["train", "other"], r"row 2: 'part' must say train, val or test, got 'other'"),
        ("ab", None, ["train", "train"], "'part' says train of every row: expected both"),
        ("aa", None, ["train", "val"], "1 of 1 held-out rows are among those to train on"),
    ],
)
def test_what_cannot_be_divided(texts, labels, parts, what):
    with pytest.raises(DataError, match=what):
        divided(table(part=parts or [""]), list(texts), labels, parts and "part")
