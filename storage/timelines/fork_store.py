"""Stores forks in the workspace: their names, parents, positions, notes and edits.

Every write compares the forks in the file with those that its caller read, in the same transaction,
and raises `StaleError` if they differ. The edits of a fork that has child forks never change.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from storage.coordinates.event_labels import Label
from storage.db.query import fetch_rows, time_from_micros
from storage.errors import StaleError, WorkspaceError
from storage.timelines import edits
from storage.timelines.edits import Edit
from storage.workspace import schema
from storage.workspace.workspace import MAIN_TIMELINE, Workspace

_VALID_NAME = re.compile(r"[\w][\w.-]{0,63}")
_BY_NAME_QUERY = "SELECT 1 FROM timelines WHERE timeline = ?"
_FORK_TABLES = ("timelines", "edits", "bookmarks")
"""Tables with rows of a fork that a person made."""


@dataclass(frozen=True)
class Fork:
    """A fork: its parent, the position at which it branches, and its edits."""

    name: str
    parent: str
    at: Label
    """The position at which it branches; all events up to it are the parent's."""
    note: str
    edits: Sequence[Edit]
    """All edits in order, including undone ones."""
    created: datetime | None = None

    @property
    def active_edits(self) -> list[Edit]:
        """The edits that aren't undone."""
        return [edit for edit in self.edits if not edit.undone]

    @property
    def content(self) -> tuple[str, Label, list[Edit]]:
        """Everything that decides the fork's events, and its undone edits."""
        return self.parent, self.at, list(self.edits)

    @property
    def digest(self) -> str:
        """A hash of the fork's position and active edits, independent of its name."""
        edit_values = [
            [
                e.kind.value,
                str(e.label),
                str(e.after),
                str(e.moved),
                e.value,
                _event_values(e.event),
            ]
            for e in self.active_edits
        ]
        text = json.dumps([str(self.at), edit_values])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _event_values(event: edits.EditedEvent | None) -> list[Any] | None:
    if event is None:
        return None
    return [None if v is None else str(v) for v in vars(event).values()]


def validate_name(name: str) -> str:
    """Return the name; raises `WorkspaceError` if a fork can't have it."""
    if name == MAIN_TIMELINE:
        raise WorkspaceError("The timeline of the log is called main; give the fork another name.")
    if not _VALID_NAME.fullmatch(name):
        raise WorkspaceError(
            f"{name!r} can't be a timeline's name; use up to 64 letters, digits, dots, dashes and _."
        )
    return name


def list_forks(workspace: Workspace) -> list[Fork]:
    """Return all forks, parents before their children, siblings by age with the oldest first."""
    with workspace.main_workspace.reading() as connection:
        return sort_parents_first(_read_forks(connection))


def sort_parents_first(forks: Sequence[Fork]) -> list[Fork]:
    """Return the forks ordered with each parent before its children."""
    ordered: list[Fork] = []

    def append_forks_of(parent: str) -> None:
        for one in forks:
            if one.parent == parent:
                ordered.append(one)
                append_forks_of(one.name)

    append_forks_of(MAIN_TIMELINE)
    return ordered


def find_fork(workspace: Workspace, name: str) -> Fork:
    """Return the fork of that name; raises `WorkspaceError` if there is none."""
    with workspace.main_workspace.reading() as connection:
        return _read_fork(connection, workspace, name)


def _read_fork(connection: duckdb.DuckDBPyConnection, workspace: Workspace, name: str) -> Fork:
    forks = _read_forks(connection, name)
    if not forks:
        names = ", ".join([MAIN_TIMELINE, *(one.name for one in _read_forks(connection))])
        raise WorkspaceError(f"{workspace.path} has no timeline called {name!r}; it has: {names}.")
    return forks[0]


def read_lineage(workspace: Workspace, name: str) -> list[Fork]:
    """Return the forks on the way from `main` to the fork of that name, itself included; none for `main`.

    Raises `WorkspaceError` if there is no such fork, or if parents form a circle.
    """
    forks: list[Fork] = []
    while name != MAIN_TIMELINE:
        forks.insert(0, find_fork(workspace, name))
        name = forks[0].parent
        if name in [one.name for one in forks]:
            raise WorkspaceError(f"{workspace.path} is damaged: {name} is forked from itself.")
    return forks


def check_name_is_free(workspace: Workspace, name: str) -> None:
    """Raise `WorkspaceError` if a new fork can't have this name."""
    validate_name(name)
    with workspace.main_workspace.reading() as connection:
        _refuse_taken(connection, name)


def _refuse_taken(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    if connection.execute(_BY_NAME_QUERY, [name]).fetchall():
        raise WorkspaceError(
            f"A timeline called {name} already exists; give the fork another name."
        )


def refuse_stale(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Fork]) -> None:
    """Raise `StaleError` unless the file holds these forks as they were read."""
    for fork in lineage:
        stored = _read_forks(connection, fork.name)
        if not stored or stored[0].content != fork.content:
            action = "edited" if stored else "removed or renamed"
            raise StaleError(
                f"Another refold process {action} the timeline {fork.name} after it was read, so nothing"
                " was written; run this again."
            )


def create(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Fork]) -> None:
    """Store the last fork of the lineage as a new one.

    Raises `WorkspaceError` if its name is taken, and `StaleError` if the file holds its ancestors in
    another version.
    """
    *above, fork = lineage
    refuse_stale(connection, above)
    _refuse_taken(connection, fork.name)
    connection.execute(
        'INSERT INTO timelines (timeline, parent, "offset", inserted, note, created)'
        " VALUES (?, ?, ?, ?, ?, now())",
        [fork.name, fork.parent, fork.at.offset, fork.at.inserted, fork.note],
    )
    edits.write_edits(connection, fork.name, fork.edits)


def save_fork(
    connection: duckdb.DuckDBPyConnection,
    lineage: Sequence[Fork],
    before: Fork | None = None,
) -> bool:
    """Store the last fork of the lineage in its current version, and return whether it is new.

    `before` is the fork before it was edited, None if it wasn't. Raises `StaleError` if the file holds
    another version of these forks, and `WorkspaceError` if the name is taken or the fork has children.
    """
    *above, fork = lineage
    stored = _read_forks(connection, fork.name)
    if not stored and (before or fork).created is None:
        create(connection, lineage)
        return True
    if before is None and fork.created is None and stored[0].content != fork.content:
        _refuse_taken(connection, fork.name)
    refuse_stale(connection, [*above, before or fork])
    if stored[0].content != fork.content:
        _update_fork(connection, fork)
    return False


def check_is_editable(workspace: Workspace, name: str) -> None:
    """Raise `WorkspaceError` if a fork can't be edited because it has child forks."""
    with workspace.main_workspace.reading() as connection:
        _check_is_editable(connection, name)


def _check_is_editable(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    forks = _child_names(connection, name)
    if forks:
        raise WorkspaceError(
            f"{name} can't be edited, because {forks[0]} is forked from it;"
            f" fork {name} again to edit further."
        )


def _update_fork(connection: duckdb.DuckDBPyConnection, timeline: Fork) -> None:
    _check_is_editable(connection, timeline.name)
    connection.execute(
        'UPDATE timelines SET "offset" = ?, inserted = ? WHERE timeline = ?',
        [timeline.at.offset, timeline.at.inserted, timeline.name],
    )
    edits.write_edits(connection, timeline.name, timeline.edits)


def set_note(workspace: Workspace, name: str, note: str) -> None:
    """Change the note of a fork; raises `WorkspaceError` if there is no such fork."""
    with workspace.writing() as connection:
        _read_fork(connection, workspace, name)
        connection.execute("UPDATE timelines SET note = ? WHERE timeline = ?", [note, name])


def rename_fork(workspace: Workspace, name: str, new_name: str) -> None:
    """Rename a fork in all tables.

    Raises `WorkspaceError` if there is no such fork, or if it can't have the new name.
    """
    validate_name(new_name)
    with workspace.writing() as connection:
        _read_fork(connection, workspace, name)
        if connection.execute(_BY_NAME_QUERY, [new_name]).fetchall():
            raise WorkspaceError(
                f"A timeline called {new_name} already exists; give the fork another name."
            )
        for table in (*_FORK_TABLES, *schema.FOLD_TABLES):
            connection.execute(
                f"UPDATE {table} SET timeline = ? WHERE timeline = ?", [new_name, name]
            )
        connection.execute("UPDATE timelines SET parent = ? WHERE parent = ?", [new_name, name])


def remove_fork(workspace: Workspace, name: str) -> None:
    """Delete a fork and everything folded on it.

    Raises `WorkspaceError` if there is no such fork, or if it has child forks.
    """
    with workspace.writing() as connection:
        _read_fork(connection, workspace, name)
        forks = _child_names(connection, name)
        if forks:
            raise WorkspaceError(
                f"{name} can't be removed, because {forks[0]} is forked from it; remove {forks[0]} first."
            )
        for table in (*_FORK_TABLES, *schema.FOLD_TABLES):
            connection.execute(f"DELETE FROM {table} WHERE timeline = ?", [name])


def refuse_unknown(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Raise `WorkspaceError` if the file no longer has the timeline of this workspace."""
    if workspace.timeline != MAIN_TIMELINE:
        _read_fork(connection, workspace, workspace.timeline)


def _child_names(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    found = connection.execute("SELECT timeline FROM timelines WHERE parent = ?", [name]).fetchall()
    return [fork for (fork,) in found]


def _read_forks(connection: duckdb.DuckDBPyConnection, name: str | None = None) -> list[Fork]:
    condition = "" if name is None else "WHERE timeline = $name"
    rows = fetch_rows(
        connection,
        'SELECT timeline, parent, "offset", inserted, note, epoch_us(created) AS created'
        f" FROM timelines {condition} ORDER BY created, timeline",
        {} if name is None else {"name": name},
    )
    return [
        Fork(
            row["timeline"],
            row["parent"],
            Label(row["offset"], row["inserted"]),
            row["note"],
            edits.read_edits(connection, row["timeline"]),
            time_from_micros(row["created"]),
        )
        for row in rows
    ]
