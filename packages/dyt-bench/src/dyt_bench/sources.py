"""Find the files a data set is read from, without importing what reads them."""

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.errors import DataError


def package_file(package: str, relative: str) -> Path:
    """A file that an installed package carries; the package is found, not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"package {package!r} is not installed, and {relative} comes with it")
    return Path(spec.submodule_search_locations[0]) / relative


def files_below(path: Path | None, suffixes: Collection[str], layout: str) -> list[Path]:
    """Every file at or below ``path`` with one of the suffixes (lower case, with the dot), sorted.

    Raises:
        DataError: no path, nothing there, or no such file in it; ``layout`` shows what is
            expected, for example ``CLASS/IMAGE.png``.
    """
    wanted = f"{layout} ({', '.join(sorted(suffixes))})"
    if path is None:
        raise DataError(f"this data set is read from your own files: give path, with {wanted}")
    if not path.exists():
        raise DataError(f"{path} does not exist: path must name a file or folder with {wanted}")
    candidates = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [file for file in candidates if file.suffix.lower() in suffixes and file.is_file()]
    if not files:
        raise DataError(f"{path} holds no file that fits: expected {wanted}")
    return files
