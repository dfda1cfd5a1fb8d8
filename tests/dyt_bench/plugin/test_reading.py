"""Many files at once: in order, and all that cannot be read in one error or one notice."""

import pytest

from dyt_bench.errors import DataError
from dyt_bench.plugin.notices import collected
from dyt_bench.plugin.reading import check_apart, read_each

FILES = [f"{number:03}" for number in range(200)]


def read(file):
    if file.endswith("7"):
        raise DataError(f"{file} is bad")
    return int(file)


def test_files_come_in_their_order():
    good = [file for file in FILES if not file.endswith("7")]
    for threads in (1, 8):
        assert list(read_each(good, read, skip=False, threads=threads)) == [
            (file, int(file)) for file in good
        ]


def test_all_bad_files_are_one_error_that_names_ten():
    with pytest.raises(DataError) as raised:
        list(read_each(FILES, read, skip=False, threads=4))
    said = str(raised.value)
    assert said.startswith("20 of 200 files cannot be read; fix or remove them, or leave them out")
    assert said.count("is bad") == 10
    assert "\n  007 is bad\n" in said
    assert said.endswith("and 10 more")


def test_one_bad_file_says_what_it_is():
    with pytest.raises(DataError, match=r"^007 is bad$"):
        list(read_each(FILES[:10], read, skip=False))


def test_bad_files_can_be_left_out_and_are_named():
    with collected() as notices:
        found = [file for file, _ in read_each(FILES, read, skip=True)]
    assert found == [file for file in FILES if not file.endswith("7")]
    (said,) = notices.sentences()
    assert said.startswith("20 of 200 files cannot be read and are left out:\n  007 is bad")


def test_of_bad_files_alone_nothing_is_left_to_read():
    with pytest.raises(DataError, match="2 of 2 files cannot be read"):
        list(read_each(["7", "17"], read, skip=True))


def test_a_long_message_is_shortened():
    def wordy(file):
        raise DataError(file + "x" * 10_000)

    with pytest.raises(DataError) as raised:
        list(read_each(["a", "b"], wordy, skip=False))
    assert len(str(raised.value)) < 1_000


def test_what_is_on_both_sides_is_refused_or_noticed():
    train = range(1_000)
    check_apart(train, [(1_000 + n, n) for n in range(100)], "images", "mine")
    with pytest.raises(DataError, match=r"mine: 2 of 100 held-out images are .*, too: 998; rem"):
        check_apart(train, [(n, n) for n in range(998, 1_098)], "images", "mine")
    with collected() as notices:
        check_apart(train, [(n, n) for n in range(999, 1_099)], "images", "mine")
    assert notices.sentences() == [
        "mine: 1 of 100 held-out images are among those to train on, too: 999"
    ]
