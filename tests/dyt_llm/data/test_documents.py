"""Documents of text files: which are held out, and encodings."""

import codecs
from pathlib import Path

import pytest

from dyt_bench.plugin.domain import DataError
from dyt_llm.data.documents import documents, read_text

TEXT = "naïve café — 日本\n" * 3


def numbered(folder: Path, count: int) -> list[Path]:
    files = [folder / f"{index}.py" for index in range(count)]
    for index, file in enumerate(files):
        file.write_text(str(index))
    return files


def held_out(files: list[Path]) -> dict[str, bool]:
    return dict(documents(files))


def test_a_new_file_moves_no_other(tmp_path: Path) -> None:
    files = numbered(tmp_path, 100)
    before, after = held_out(files[:60]), held_out(files)
    assert 0 < sum(before.values()) < 20
    assert before.items() <= after.items()


def test_five_files_are_enough_to_hold_one_out(tmp_path: Path) -> None:
    assert sum(held_out(numbered(tmp_path, 5)).values()) == 1


@pytest.mark.parametrize(
    "names",
    [["a.txt"], [f"{index}/README.md" for index in range(7)]],
    ids=["few files", "one name"],
)
def test_where_names_cannot_tell_files_apart_their_ends_are_held_out(
    names: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("0123456789" * 10)
    found = list(documents([tmp_path / name for name in names]))
    sides = {side: [text for text, held in found if held is side] for side in (False, True)}
    assert [*map(len, sides[False])] == [90] * len(names)
    assert [*map(len, sides[True])] == [10] * len(names)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(TEXT.encode(encoding))
    assert read_text(file) == TEXT


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE])
def test_the_other_byte_order_is_read(mark: bytes, tmp_path: Path) -> None:
    encoding = {2: "utf-16-be", 4: "utf-32-be"}[len(mark)]
    file = tmp_path / "a.txt"
    file.write_bytes(mark + TEXT.encode(encoding))
    assert read_text(file) == TEXT


def test_python_says_its_encoding(tmp_path: Path) -> None:
    text = "# coding: latin-1\ncafé = 1\n"
    file = tmp_path / "a.py"
    file.write_bytes(text.encode("latin-1"))
    assert read_text(file) == text


def test_newlines_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\r\ntwo\rthree\n")
    assert read_text(file) == "one\r\ntwo\rthree\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "café".encode("latin-1"), "byte 3 (0xe9) is not utf-8"),
        ("a.py", "x = 'café'\n".encode("latin-1"), "byte 8 (0xe9) is not utf-8"),
        ("a.txt", "né".encode("utf-16-le"), "byte 1 is NUL"),
        ("a.txt", codecs.BOM_UTF16_LE + b"abc", "byte 4 (0x63) is not utf-16"),
        ("a.txt", b"\x89PNG\r\n", "byte 0 (0x89) is not utf-8"),
    ],
    ids=["latin-1", "latin-1 in Python", "UTF-16 unmarked", "UTF-16 cut short", "no text"],
)
def test_what_is_no_utf8_is_named_with_its_place(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_text(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert said in str(caught.value)


@pytest.mark.parametrize("coding", ["rot13", "hex", "punycode", "undefined"])
def test_a_coding_line_that_is_no_text_s_is_named(coding: str, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(f"# -*- coding: {coding} -*-\nx = '-\\xe9'\n")
    with pytest.raises(DataError, match=rf"a\.py says that it is encoded in {coding}|a\.py: byte"):
        read_text(file)


def test_half_a_character_of_two_parts_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("# coding: raw_unicode_escape\nx = '\\ud83d'\n")
    with pytest.raises(DataError, match=r"a\.py says that it is encoded in raw_unicode_escape"):
        read_text(file)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*a\.txt"):
        read_text(tmp_path / "a.txt")
