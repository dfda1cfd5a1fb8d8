"""`dyt-bench new-domain`: writes the package of a domain, which runs as it is."""

import importlib.metadata
import keyword
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.domain import API_VERSION

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40  # characters: names of folders and runs begin with it


@dataclass(frozen=True)
class Written:
    """The package that was written, and the commands to try next."""

    name: str  # the domain: "small-molecules"
    distribution: str  # what pip calls it: "dyt-small-molecules"
    package: str  # what Python calls it: "dyt_small_molecules"
    folder: Path
    files: list[str]  # below the folder
    commands: list[str]  # to run next, in this order


def new_domain(name: str, to: Path, found: Discovery) -> Written:
    """Write the package ``to/dyt-NAME``, whole or not at all; nothing is overwritten.

    Raises:
        UserError: ``name`` is not a valid name, or is taken; the folder exists already, or cannot
            be written.
    """
    distribution, package = f"dyt-{name}", f"dyt_{name.replace('-', '_')}"
    _check(name, distribution, package, found)
    folder = to / distribution
    if os.path.lexists(folder):
        raise UserError(f"{folder} is there already: choose another name, or another folder --to")
    files = _rendered(
        name=name,
        distribution=distribution,
        package=package,
        class_name="".join(map(str.capitalize, name.split("-"))) + "Domain",
        api_version=API_VERSION,
        harness=importlib.metadata.version("dyt-bench"),
    )
    _write(files, folder)
    return Written(name, distribution, package, folder, sorted(files), _next(name, folder))


def _check(name: str, distribution: str, package: str, found: Discovery) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UserError(
            f"a domain's name is at most {_LONGEST} lower-case letters, digits and single hyphens "
            f"and begins with a letter, got {quoted(name)}{_suggestion(name)}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"{quoted(name)} is a word of Python's own: choose another name")
    if name in found.names:
        raise UserError(
            f"there is a domain {quoted(name)} already, of {found.origin(name)}: "
            "choose another name"
        )
    if find_spec(package) is not None or _is_installed(distribution):
        raise UserError(f"there is a package {distribution} already: choose another name")


def _suggestion(name: str) -> str:
    """The nearest valid name, if there is one."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("dyt-")[:_LONGEST]
    return f": try {quoted(plain)}" if _NAME.fullmatch(plain) else ""


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _rendered(**names: str | int) -> dict[str, str]:
    """Path below the package's folder -> its content."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return {
        template.removesuffix(".jinja").replace("PACKAGE", str(names["package"])): (
            environment.get_template(template).render(names)
        )
        for template in environment.list_templates(extensions=["jinja"])
    }


def _write(files: dict[str, str], folder: Path) -> None:
    """Write all files into a temporary folder, and rename that to ``folder``."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for path, content in files.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_text(content, encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror}; name another folder with --to"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _next(name: str, folder: Path) -> list[str]:
    """Commands that work in the user's shell as they are printed."""
    suite, tests = folder / "suite.yaml", folder / "tests"
    if folder.parent == Path("packages") and Path("packages", "dyt-bench", "src").is_dir():
        # In this repository every session installs every package by itself.
        return [f"nox -s tests -- {tests}", f"nox -s bench -- {suite}", "nox -s ui"]
    pip, bench = _command("pip", "pip"), _command("dyt-bench", "dyt_bench")
    return [
        f"{pip} install -e {shlex.quote(str(folder))}",
        f"{bench} check {name}",
        f"{bench} run {shlex.quote(str(suite))}",
    ]


def _command(name: str, module: str) -> str:
    """``name`` if that is this interpreter's program in the user's shell, else the full command."""
    found = shutil.which(name)
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    # The PATH of a nox session is not the shell's.
    if is_ours and "NOX_CURRENT_SESSION" not in os.environ:
        return name
    return f"{shlex.quote(sys.executable)} -m {module}"
