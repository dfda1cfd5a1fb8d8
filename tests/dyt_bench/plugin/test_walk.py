"""The walk through a user's folder: what it finds, in which order, and what it passes over."""

import os
import subprocess

import pytest

from dyt_bench.errors import DataError
from dyt_bench.plugin.files import matching, walk


def plant(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(tree):
    return [file.relative_to(tree.root).as_posix() for file in tree.files]


def test_the_order_is_that_of_the_parts_of_the_paths(tmp_path):
    plant(tmp_path, "b.TXT", "a/z.txt", "a-b/1.txt", "a/B.txt", "a.txt")
    assert names(walk(tmp_path, {".txt"})) == ["a/B.txt", "a/z.txt", "a-b/1.txt", "a.txt", "b.TXT"]


def test_what_hides_and_what_systems_leave_is_passed_over_and_not_counted(tmp_path):
    plant(
        tmp_path,
        *("a/1.txt", "a/.2.txt", "a/._1.txt", ".git/3.txt", "__MACOSX/a/1.txt", "Thumbs.db"),
        *("a/desktop.ini", "@eaDir/1.txt", "$RECYCLE.BIN/1.txt", "a/.DS_Store"),
    )
    tree = walk(tmp_path, {".txt"})
    assert names(tree) == ["a/1.txt"]
    assert not tree.left_out
    hidden = tmp_path / ".hidden"
    plant(hidden, "1.txt")
    assert names(walk(hidden, {".txt"})) == ["1.txt"]  # what the user names is meant


def test_many_suffixes_are_listed_as_far_as_they_fit(tmp_path):
    for number in range(1000):
        (tmp_path / f"frame.{number:04}").touch()
    others = walk(tmp_path, {".png"}).others()
    assert others.startswith("1 .0000, 1 .0001, ")
    assert others.endswith(" more")
    assert len(others) < 250


def test_what_is_left_out_is_counted_by_suffix(tmp_path):
    plant(tmp_path, "1.txt", "a/1.gif", "b/2.GIF", "README", "a/LICENCE", "3.bmp")
    tree = walk(tmp_path, {".txt"})
    assert tree.left_out == {".gif": 2, "": 2, ".bmp": 1}
    assert tree.others() == "2 without a suffix, 2 .gif, 1 .bmp"
    assert walk(tmp_path / "1.txt", {".txt"}).files == [tmp_path / "1.txt"]
    assert walk(tmp_path / "1.txt", {".gif"}).left_out == {".txt": 1}


def test_links_are_followed_and_loops_are_not(tmp_path):
    plant(tmp_path / "elsewhere", "1.txt")
    plant(tmp_path / "tree", "a/2.txt")
    (tmp_path / "tree" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "c.txt").symlink_to(tmp_path / "elsewhere" / "1.txt")
    (tmp_path / "tree" / "a" / "up").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "again").symlink_to(tmp_path / "tree" / "a")
    expected = ["a/2.txt", "again/2.txt", "b/1.txt", "c.txt"]
    assert names(walk(tmp_path / "tree", {".txt"})) == expected


@pytest.mark.parametrize("target", ["nowhere", "1.txt"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, target):
    (tmp_path / "1.txt").symlink_to(target)  # the second one leads to itself
    with pytest.raises(DataError, match=r"1\.txt is a link to what is not there: restore"):
        walk(tmp_path, {".txt"})
    assert not walk(tmp_path, {".gif"}).files


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "1.txt")
    assert not walk(tmp_path, {".txt"}).files


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    plant(tmp_path, "a/1.txt")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)  # an administrator may read every folder
    with pytest.raises(DataError, match=f"cannot read {tmp_path}: Permission denied"):
        walk(tmp_path, {".txt"})


def test_names_in_no_encoding_are_found(tmp_path):
    subprocess.run(["touch", os.fsencode(tmp_path) + b"/\xe9.txt"], check=True)
    assert len(walk(tmp_path, {".txt"}).files) == 1


def test_matching_passes_over_the_same(tmp_path):
    plant(tmp_path, "x/data_batch_2", "x/data_batch_1", "x/._data_batch_1", "x/readme")
    found = matching(tmp_path, ["x/*_batch*", "x/*_1"])
    assert [file.name for file in found] == ["data_batch_1", "data_batch_2"]
