"""Finding and digesting the files of a data set."""

import subprocess
import sys
from pathlib import Path

import pytest

from dyt_bench.errors import DataError
from dyt_bench.plugin.files import digest_files, files_below, package_file


def test_package_file_does_not_import_the_package():
    script = (
        "import sys; from dyt_bench.plugin.files import package_file; "
        "assert package_file('sklearn', 'datasets/data/digits.csv.gz').exists(); "
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(DataError, match="'no_such_package' is not installed"):
        package_file("no_such_package", "x")


def test_files_below_finds_by_suffix_in_order(tmp_path):
    for name in ("b.TXT", "a.txt", "c.md", "d/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [p.relative_to(tmp_path).as_posix() for p in files_below(tmp_path, {".txt"}, "x.txt")]
    assert names == ["a.txt", "b.TXT", "d/e.txt"]
    assert files_below(tmp_path / "a.txt", {".txt"}, "x.txt") == [tmp_path / "a.txt"]


def test_a_path_that_no_system_takes_is_cut_in_the_message():
    with pytest.raises(DataError, match=r"^a{197}\.\.\. does not exist"):
        files_below(Path("a" * 10_000), {".txt"}, "x.txt")


def test_files_below_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="give path"):
        files_below(None, {".txt"}, "x.txt")
    with pytest.raises(DataError, match="does not exist"):
        files_below(tmp_path / "no", {".txt"}, "x.txt")
    with pytest.raises(DataError, match="holds no file that fits"):
        files_below(tmp_path, {".txt"}, "x.txt")


def test_digest_is_of_content_not_of_place(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_bytes(b"1")
    assert digest_files([tmp_path / "a" / "x"]) == digest_files([tmp_path / "b" / "x"])
    (tmp_path / "b" / "x").write_bytes(b"2")
    assert digest_files([tmp_path / "a" / "x"]) != digest_files([tmp_path / "b" / "x"])
    with pytest.raises(DataError, match=r"cannot read .*gone"):
        digest_files([tmp_path / "gone"])
