"""The walk through a folder of the user's: what a data set reads of it, and what it leaves out.

A data set's files are read and hashed from one list, so a run's identity covers what it was trained
on and nothing else.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dyt_bench.errors import DataError, listed

__all__ = ["Tree", "is_ignored", "matching", "walk"]

# What operating systems and their tools put beside people's files, in lower case. Names that begin
# with a dot are hidden: .git, .DS_Store, and the ._NAME of macOS on other systems' disks.
_NOT_THE_USERS = {
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "desktop.ini",
    "ehthumbs.db",
    "lost+found",
    "system volume information",
    "thumbs.db",
}


@dataclass(frozen=True)
class Tree:
    """What a walk found.

    Attributes:
        root: the folder or file that the user named.
        files: those with one of the suffixes, in the order of their paths below the root.
        left_out: how many files have another suffix: ``{".txt": 2, "": 1}``. Hidden ones and those
            of the operating system do not count.
    """

    root: Path
    files: list[Path]
    left_out: Counter[str]

    def others(self) -> str:
        """What was left out, for a message: ``3 .gif, 1 without a suffix``; the most first."""
        return listed(
            f"{count} {suffix or 'without a suffix'}"
            for suffix, count in sorted(self.left_out.items(), key=lambda each: (-each[1], each))
        )


def walk(root: Path, suffixes: Collection[str]) -> Tree:
    """Find the files at or below ``root`` that end in one of the suffixes.

    Links are followed, once around a loop. Left out are hidden files and folders and those that
    operating systems make (``__MACOSX``, ``Thumbs.db``). The order is that of the paths' parts,
    the same on every machine and wherever the folder lies.

    Args:
        suffixes: in lower case, with the dot: ".png", ".jsonl.gz"; or the end of a name:
            "speakers.txt". Files may have them in upper case.

    Raises:
        DataError: a folder cannot be read, or a link with one of the suffixes leads nowhere.

    Example:
        >>> tree = walk(Path("photographs"), {".jpg", ".png"})
        >>> [str(file) for file in tree.files], tree.others()
        (['photographs/cats/1.jpg', 'photographs/dogs/1.png'], '3 .gif')
    """
    tree = Tree(root, [], Counter())
    for file in [str(root)] if root.is_file() else _files(str(root), ()):
        if not file.lower().endswith(tuple(suffixes)):
            tree.left_out[os.path.splitext(file)[1].lower()] += 1
        elif os.path.isfile(file):  # neither a pipe nor a device
            tree.files.append(Path(file))
        elif not os.path.exists(file):
            raise DataError(f"{file} is a link to what is not there: restore that, or remove it")
    return tree


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below ``folder`` that match one of the glob patterns, without what `walk` ignores.

    For a published layout, whose file names are known. In the order of `walk`.
    """
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    below = {file: file.relative_to(folder).parts for file in found}
    return sorted((f for f in found if not any(map(is_ignored, below[f]))), key=below.__getitem__)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that operating systems make."""
    return name.startswith(".") or name.lower() in _NOT_THE_USERS


def _files(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The paths of all entries below that are no folder; ``above``: the folders on the way."""
    entries = _entries(folder)
    status = os.stat(folder)
    here = status.st_dev, status.st_ino
    if here in above:  # a link to a folder that it lies in
        return
    for path in entries:
        if os.path.isdir(path):
            yield from _files(path, (*above, here))
        else:
            yield path


def _entries(folder: str) -> list[str]:
    """What lies in the folder and counts, by name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error
    return [os.path.join(folder, name) for name in names if not is_ignored(name)]
