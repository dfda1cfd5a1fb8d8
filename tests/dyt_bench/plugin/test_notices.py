"""What readers of data do not take as it is: counted, kept with derived files, and said again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.notices import collected, notice


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))


def test_the_same_thing_is_counted_over_files_and_threads():
    with collected() as notices:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: notice("letters read as N", name, 3), "dbca"))
        notice("turned", "x.jpg")
        notice("a whole sentence")
    assert notices.sentences() == [
        "letters read as N: 12 in 4 files, first in a",
        "turned: 1, in x.jpg",
        "a whole sentence",
    ]


def test_without_a_run_a_notice_is_printed(capsys):
    notice("letters read as N", "a.fa", 2)
    notice("a whole sentence")
    assert capsys.readouterr().out == "letters read as N: 2, in a.fa\na whole sentence\n"


def test_what_was_noticed_of_a_derived_file_is_noticed_at_each_use(capsys):
    def make(path):
        notice("clipped", "a.wav", 5)
        path.touch()

    for _ in range(2):
        with collected() as notices:
            derived("noticed.txt", make)
        assert notices.sentences() == ["clipped: 5, in a.wav"]
    derived("noticed.txt", make)
    assert capsys.readouterr().out == "clipped: 5, in a.wav\n"
