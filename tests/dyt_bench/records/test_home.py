"""Whose a workspace is after it was moved, copied, or seen from another machine."""

import os
import platform
import shutil

import pytest

from dyt_bench.records.home import Origin, peek
from dyt_bench.records.workspace import Workspace


def test_a_workspace_keeps_its_identity(tmp_path):
    first = Workspace(tmp_path / "w").identity
    assert first.isalnum()
    assert Workspace(tmp_path / "w").identity == first
    assert Workspace(tmp_path / "other").identity != first


def test_an_identity_without_a_home_is_kept(tmp_path):
    """Earlier versions wrote no home.json."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "id").write_text("abc123")
    assert Workspace(tmp_path / "w").identity == "abc123"


def test_a_moved_workspace_keeps_its_identity(tmp_path):
    first = Workspace(tmp_path / "w").identity
    (tmp_path / "w").rename(tmp_path / "moved")
    assert Workspace(tmp_path / "moved").identity == first


def test_a_workspace_moved_to_another_disk_keeps_its_identity(tmp_path):
    first = Workspace(tmp_path / "w").identity
    shutil.copytree(tmp_path / "w", tmp_path / "moved")  # other inodes, as on another disk
    shutil.rmtree(tmp_path / "w")
    assert Workspace(tmp_path / "moved").identity == first


@pytest.mark.parametrize("how", [shutil.copy2, os.link], ids=["files", "hard links"])
def test_a_copy_gets_an_identity_of_its_own(tmp_path, how):
    first = Workspace(tmp_path / "w").identity
    shutil.copytree(tmp_path / "w", tmp_path / "copy", copy_function=how)
    copied = Workspace(tmp_path / "copy")
    assert copied.identity != first
    assert copied.home[1].earlier == [first]
    again = Workspace(tmp_path / "copy")
    assert (again.identity, again.home[1].earlier) == (copied.identity, [first])
    assert Workspace(tmp_path / "w").identity == first


def test_a_link_to_a_workspace_is_no_copy(tmp_path):
    first = Workspace(tmp_path / "w").identity
    (tmp_path / "link").symlink_to(tmp_path / "w")
    assert Workspace(tmp_path / "link").identity == first


def test_another_machine_on_the_same_file_system_is_the_same_workspace(tmp_path, monkeypatch):
    first = Workspace(tmp_path / "w").identity
    monkeypatch.setattr(platform, "node", lambda: "node17")
    assert Workspace(tmp_path / "w").identity == first


def test_what_another_machine_made_may_be_a_copy(tmp_path, monkeypatch):
    """At the same path, too: whether the original is in use cannot be seen from here."""
    first = Workspace(tmp_path / "w").identity
    shutil.move(tmp_path / "w", tmp_path / "sent")  # and keeps its inode
    shutil.copytree(tmp_path / "sent", tmp_path / "w")
    monkeypatch.setattr(platform, "node", lambda: "other")
    assert Workspace(tmp_path / "w").identity != first


@pytest.mark.parametrize("content", [b"\xff\0", b"a b", b"x" * 100])
def test_an_identity_that_is_none_is_set_aside(tmp_path, content):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "id").write_bytes(content)
    workspace = Workspace(tmp_path / "w")
    assert len(workspace.identity) == 12
    assert "it is no identity" in workspace.problems[0]
    assert (tmp_path / "w" / "unreadable" / "id").read_bytes() == content


def test_a_home_that_cannot_be_read_is_set_aside(tmp_path):
    first = Workspace(tmp_path / "w").identity
    (tmp_path / "w" / "home.json").write_text("{")
    workspace = Workspace(tmp_path / "w")
    assert workspace.identity == first
    assert "home.json cannot be read" in workspace.problems[0]


def test_looking_writes_nothing_and_sees_the_original(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "laptop")
    first = Workspace(tmp_path / "w").identity
    shutil.copytree(tmp_path / "w", tmp_path / "sent")
    monkeypatch.setattr(platform, "node", lambda: "desk")
    assert peek(tmp_path / "sent") == Origin(first, "laptop")
    assert Origin(first, "laptop").label == f"laptop {first[:4]}"
    (tmp_path / "none").mkdir()
    assert peek(tmp_path / "none") is None
    assert list((tmp_path / "none").iterdir()) == []
