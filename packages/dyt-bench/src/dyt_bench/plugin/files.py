"""Files of a data set: found without importing what reads them."""

import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.errors import DataError, quoted, shortened
from dyt_bench.plugin.contents import digest_files as digest_files
from dyt_bench.plugin.notices import is_collected, notice
from dyt_bench.plugin.walk import Tree as Tree
from dyt_bench.plugin.walk import is_ignored as is_ignored
from dyt_bench.plugin.walk import matching as matching
from dyt_bench.plugin.walk import walk as walk

__all__ = [
    "Tree",
    "digest_files",
    "files_below",
    "is_ignored",
    "matching",
    "package_file",
    "walk",
]


def package_file(package: str, relative: str) -> Path:
    """A file that an installed package carries; the package is found, not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"package {quoted(package)} is not installed, and {relative} comes with it")
    return Path(spec.submodule_search_locations[0]) / relative


def files_below(path: Path | None, suffixes: Collection[str], layout: str) -> list[Path]:
    """Every file at or below ``path`` with one of the suffixes, as `walk` finds them.

    Raises:
        DataError: no path, nothing there, or no such file in it; ``layout`` shows what is
            expected, for example ``CLASS/IMAGE.png``. Or a folder cannot be read.
    """
    wanted = f"{layout} ({', '.join(sorted(suffixes))})"
    if path is None:
        raise DataError(f"this data set is read from your own files: give path, with {wanted}")
    if not os.path.exists(path):  # also for a name that the system cannot take
        raise DataError(
            f"{shortened(str(path))} does not exist: path must name a file or folder with {wanted}"
        )
    tree = walk(path, suffixes)
    if not tree.files:
        others = f", and {tree.others()}" if tree.left_out else ""
        raise DataError(f"{path} holds no file that fits{others}: expected {wanted}")
    if tree.left_out and is_collected():  # while a run's data are built, not for each listing
        notice(f"{path}: files that this data set does not read are left out: {tree.others()}")
    return tree.files
