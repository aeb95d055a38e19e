"""Watches: saved conditions. The screen shows the hits of each one as a lane over the log."""

from dataclasses import dataclass

import duckdb

from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Watch:
    """A condition and its scope."""

    number: int
    scope: str
    """`states`: checked on each document; `all`: on all documents together; `events`: on each event."""
    condition: str


def add_watch(workspace: Workspace, scope: str, condition: str) -> Watch:
    """Save a condition and return its watch; if it is already saved, return the existing one."""
    with workspace.writing() as connection:
        for watch in _read_watches(connection):
            if (watch.scope, watch.condition) == (scope, condition):
                return watch
        rows = connection.execute(
            "INSERT INTO watches SELECT coalesce(max(watch), 0) + 1, ?, ?, now() FROM watches"
            " RETURNING watch, over, condition",
            [scope, condition],
        ).fetchall()
    return Watch(*rows[0])


def remove_watch(workspace: Workspace, number: int) -> None:
    """Delete a watch; do nothing if there is none with this number."""
    with workspace.writing() as connection:
        connection.execute("DELETE FROM watches WHERE watch = ?", [number])


def list_watches(workspace: Workspace) -> list[Watch]:
    """All watches, the oldest first."""
    with workspace.reading() as connection:
        return _read_watches(connection)


def _read_watches(connection: duckdb.DuckDBPyConnection) -> list[Watch]:
    rows = connection.execute(
        "SELECT watch, over, condition FROM watches ORDER BY watch"
    ).fetchall()
    return [Watch(*row) for row in rows]
