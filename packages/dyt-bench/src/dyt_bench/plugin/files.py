"""Files of a data set: found and hashed without importing what reads them."""

import hashlib
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.errors import DataError

__all__ = ["digest_files", "files_below", "package_file"]


def package_file(package: str, relative: str) -> Path:
    """A file that an installed package carries; the package is found, not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"package {package!r} is not installed, and {relative} comes with it")
    return Path(spec.submodule_search_locations[0]) / relative


def files_below(path: Path | None, suffixes: Collection[str], layout: str) -> list[Path]:
    """Every file at or below ``path`` with one of the suffixes (lower case, with the dot), sorted.

    Hidden files and folders are ignored.

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
    files = [
        file
        for file in candidates
        if file.suffix.lower() in suffixes and file.is_file() and not _is_hidden(file, path)
    ]
    if not files:
        raise DataError(f"{path} holds no file that fits: expected {wanted}")
    return files


def _is_hidden(file: Path, below: Path) -> bool:
    """Whether its name or a folder's on the way begins with a dot, as .git and .venv do."""
    return any(part.startswith(".") for part in file.relative_to(below).parts)


# Above this, names and sizes stand for the content: hashing ImageNet would take minutes.
_HASH_CONTENT_BELOW = 64 * 2**20  # bytes


def digest_files(files: Collection[Path]) -> str:
    """A hash of what the files hold, whatever folder they lie in.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        sizes = {file: file.stat().st_size for file in files}
        by_content = sum(sizes.values()) < _HASH_CONTENT_BELOW
        for file in sorted(files):
            total.update(f"{file.name}\0{sizes[file]}\0".encode())
            if by_content:
                total.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
    return total.hexdigest()[:12]
