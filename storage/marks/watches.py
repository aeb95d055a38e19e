"""Watches: conditions that a person keeps in sight. Their hits are lanes over the log."""

from dataclasses import dataclass

import duckdb

from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Watch:
    """A condition, and what it is asked of."""

    number: int
    scope: str
    """`states`: each document; `all`: all of them together; `events`."""
    condition: str


def add_watch(workspace: Workspace, scope: str, condition: str) -> Watch:
    """Keep a condition; one that is kept already stays as it is."""
    with workspace.writing() as connection:
        for watch in _kept(connection):
            if (watch.scope, watch.condition) == (scope, condition):
                return watch
        rows = connection.execute(
            "INSERT INTO watches SELECT coalesce(max(watch), 0) + 1, ?, ?, now() FROM watches"
            " RETURNING watch, over, condition",
            [scope, condition],
        ).fetchall()
    return Watch(*rows[0])


def remove_watch(workspace: Workspace, number: int) -> None:
    """Watch it no longer."""
    with workspace.writing() as connection:
        connection.execute("DELETE FROM watches WHERE watch = ?", [number])


def list_watches(workspace: Workspace) -> list[Watch]:
    """All watches, the oldest first."""
    with workspace.reading() as connection:
        return _kept(connection)


def _kept(connection: duckdb.DuckDBPyConnection) -> list[Watch]:
    rows = connection.execute(
        "SELECT watch, over, condition FROM watches ORDER BY watch"
    ).fetchall()
    return [Watch(*row) for row in rows]
