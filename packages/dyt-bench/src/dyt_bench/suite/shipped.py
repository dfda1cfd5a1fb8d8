"""The suites that come with the package, by name: `default`, `evidence`, `paper/vision`."""

from importlib.resources import files
from pathlib import Path

from dyt_bench.discovery.domains import unknown
from dyt_bench.errors import UserError

_ENDS = (".yaml", ".yml")
FOLDER = Path(str(files("dyt_bench"))) / "suites"


def shipped() -> dict[str, Path]:
    """Name -> file; those of the folder itself first."""
    found = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in found}


def suite_file(text: str) -> Path:
    """The file of a suite that a person names: a path that ends in .yaml, or a shipped suite.

    Raises:
        UserError: there is no such suite.
    """
    if text.endswith(_ENDS):
        return Path(text)
    known = shipped()
    if text not in known and Path(text).is_dir():
        raise UserError(f"{text} is a folder: name the suite file in it, which ends in .yaml")
    if text not in known:
        raise UserError(unknown("suite", text, known, "a file of your own ends in .yaml"))
    return known[text]


def base_of(suite: Path) -> Path:
    """What the suite's relative paths start from: its folder, or here for a shipped one."""
    return Path() if suite.is_relative_to(FOLDER) else suite.parent
