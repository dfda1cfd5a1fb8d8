"""A store that lies in a workspace follows it: to another folder, and into a copy.

MLflow keeps absolute paths of artifacts in its database, and has no call that changes them. This
changes the columns that it reads, in one transaction.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dyt_bench.errors import UserError
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.store import MEMBER_TAG, WORKSPACE_TAG, unanswered

_PREFIX = "dyt-bench/%"  # of our experiments' names
_LOCK_S = 60.0  # for another process that writes
# Table and column of each path that begins with its experiment's.
_PATHS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def follow(workspace: Workspace, uri: str) -> None:
    """Before the store at ``uri`` is opened: if it is the workspace's own, make it fit its folder.

    Raises:
        UserError: the file is no database, or cannot be written.
    """
    if uri != workspace.tracking_uri or not workspace.database.is_file():
        return
    identity, home = workspace.home
    try:
        relocate(workspace.database, workspace.artifacts, identity, home.earlier)
    except sqlite3.Error as error:
        raise UserError(unanswered(uri, str(error))) from None


def relocate(database: Path, artifacts: Path, workspace: str, earlier: Sequence[str]) -> None:
    """Make the paths of our experiments begin with ``artifacts``, and their runs this workspace's.

    Args:
        database: an SQLite file.
        artifacts: the folder, wherever it lies at present.
        workspace: the identity of the workspace.
        earlier: those of the workspaces that it is a copy of.
    """
    with closing(sqlite3.connect(database, timeout=_LOCK_S)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        here = artifacts.as_uri()
        found = connection.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE name LIKE ? "
            "AND artifact_location LIKE 'file:%' AND artifact_location != ?",
            (_PREFIX, here),
        )
        for (there,) in found.fetchall():
            _move(connection, there, here, tables)
        for other in earlier:
            _rename(connection, other, workspace)


def _move(connection: sqlite3.Connection, there: str, here: str, tables: set[str]) -> None:
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (here, there)
    )
    for table, column in _PATHS:
        if table in tables:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ?",
                (here, len(there) + 1, len(there) + 1, f"{there}/"),
            )


def _rename(connection: sqlite3.Connection, other: str, workspace: str) -> None:
    """Give the runs of another workspace to this one, and drop what it said of the experiments."""
    connection.execute(
        "UPDATE tags SET value = ? WHERE key = ? AND value = ?", (workspace, WORKSPACE_TAG, other)
    )
    connection.execute(
        "UPDATE tags SET key = ? WHERE key = ?",
        (f"{MEMBER_TAG}{workspace}", f"{MEMBER_TAG}{other}"),
    )
    connection.execute("DELETE FROM experiment_tags WHERE key LIKE ?", (f"%{other}%",))
