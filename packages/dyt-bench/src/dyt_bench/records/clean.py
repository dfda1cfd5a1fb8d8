"""What of a workspace no suite needs: runs that none lists, and what could not be read."""

from pathlib import Path

from dyt_bench.records.workspace import Workspace


def unneeded(workspace: Workspace) -> list[Path]:
    """Folders of runs that no suite's last run lists, and ``unreadable/``.

    All runs are needed where a suite's list cannot be read: it may have any of them.
    """
    needed: set[str] = set()
    for name in workspace.suites():
        listed = workspace.suite(name)
        if listed is None:
            return []
        needed |= set(listed.runs)
    runs = workspace.runs.iterdir() if workspace.runs.is_dir() else ()
    found = sorted(path for path in runs if path.name not in needed)
    aside = workspace.folder / "unreadable"
    return [*found, aside] if aside.is_dir() else found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(child) for child in path.iterdir())
