"""The tree of timelines: which forks there are, what they were forked from, and their edits.

Every write compares the forks in the file with those that its caller read, in the transaction that
writes, and raises `StaleError` if they differ. A fork from which others were forked never changes.
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
"""Tables of what a person made."""


@dataclass(frozen=True)
class Fork:
    """A fork: its parent, where it branches, and what is otherwise on it."""

    name: str
    parent: str
    at: Label
    """The position at which it branches: every event up to there is its parent's."""
    note: str
    edits: Sequence[Edit]
    """In order, with those that were undone."""
    created: datetime | None = None

    @property
    def active_edits(self) -> list[Edit]:
        """The edits that count."""
        return [edit for edit in self.edits if not edit.undone]

    @property
    def content(self) -> tuple[str, Label, list[Edit]]:
        """Everything that its events depend on, and the edits that were undone."""
        return self.parent, self.at, list(self.edits)

    @property
    def digest(self) -> str:
        """A hash of what makes it what it is, whatever it is called."""
        said = [
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
        text = json.dumps([str(self.at), said])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _event_values(event: edits.EditedEvent | None) -> list[Any] | None:
    if event is None:
        return None
    return [None if v is None else str(v) for v in vars(event).values()]


def validate_name(name: str) -> str:
    """The name, where a fork can have it; raises `WorkspaceError`."""
    if name == MAIN_TIMELINE:
        raise WorkspaceError("The log itself is called main; give the fork another name.")
    if not _VALID_NAME.fullmatch(name):
        raise WorkspaceError(
            f"{name!r} can't be a timeline's name; use up to 64 letters, digits, dots, dashes and _."
        )
    return name


def list_forks(workspace: Workspace) -> list[Fork]:
    """All forks, parents before their forks, the oldest first."""
    with workspace.main_workspace.reading() as connection:
        return sort_parents_first(_read_forks(connection))


def sort_parents_first(forks: Sequence[Fork]) -> list[Fork]:
    """Parents before their forks."""
    ordered: list[Fork] = []

    def append_forks_of(parent: str) -> None:
        for one in forks:
            if one.parent == parent:
                ordered.append(one)
                append_forks_of(one.name)

    append_forks_of(MAIN_TIMELINE)
    return ordered


def find_fork(workspace: Workspace, name: str) -> Fork:
    """The fork of that name; raises `WorkspaceError`."""
    with workspace.main_workspace.reading() as connection:
        return _found(connection, workspace, name)


def _found(connection: duckdb.DuckDBPyConnection, workspace: Workspace, name: str) -> Fork:
    found = _read_forks(connection, name)
    if not found:
        there = ", ".join([MAIN_TIMELINE, *(one.name for one in _read_forks(connection))])
        raise WorkspaceError(f"{workspace.path} has no timeline called {name!r}; it has: {there}.")
    return found[0]


def read_lineage(workspace: Workspace, name: str) -> list[Fork]:
    """The forks from `main` to the one of that name; none for `main`. Raises `WorkspaceError`."""
    forks: list[Fork] = []
    while name != MAIN_TIMELINE:
        forks.insert(0, find_fork(workspace, name))
        name = forks[0].parent
        if name in [one.name for one in forks]:
            raise WorkspaceError(f"{workspace.path} is damaged: {name} is forked from itself.")
    return forks


def check_name_is_free(workspace: Workspace, name: str) -> None:
    """Raise `WorkspaceError` where no new fork can be called so."""
    validate_name(name)
    with workspace.main_workspace.reading() as connection:
        _refuse_taken(connection, name)


def _refuse_taken(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    if connection.execute(_BY_NAME_QUERY, [name]).fetchall():
        raise WorkspaceError(
            f"There is a timeline called {name} already; give the fork another name."
        )


def refuse_stale(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Fork]) -> None:
    """Raise `StaleError` unless the file holds these forks as they were read."""
    for fork in lineage:
        there = _read_forks(connection, fork.name)
        if not there or there[0].content != fork.content:
            what = "edited" if there else "removed or renamed"
            raise StaleError(
                f"The timeline {fork.name} was {what} by another refold after it was read, so nothing"
                " was written; run this again."
            )


def create(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Fork]) -> None:
    """Keep the last of these forks as a new one; raise `WorkspaceError` if its name is taken."""
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
    """Keep the last of these forks as it is now, and return whether it is new.

    `before` is the fork before it was edited, where it was. Raise `StaleError` when the file holds
    other forks than these, and `WorkspaceError` when the name is taken or others stand on the fork.
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
    """Raise `WorkspaceError` where a fork has to stay as it is."""
    with workspace.main_workspace.reading() as connection:
        _check_is_editable(connection, name)


def _check_is_editable(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    forks = _child_names(connection, name)
    if forks:
        raise WorkspaceError(
            f"{forks[0]} is forked from {name}, which so stays as it is;"
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
    """Give a fork another note."""
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        connection.execute("UPDATE timelines SET note = ? WHERE timeline = ?", [note, name])


def rename_fork(workspace: Workspace, name: str, new_name: str) -> None:
    """Give a fork another name; raises `WorkspaceError` where it can't have it."""
    validate_name(new_name)
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        if connection.execute(_BY_NAME_QUERY, [new_name]).fetchall():
            raise WorkspaceError(f"There is a timeline called {new_name} already.")
        for table in (*_FORK_TABLES, *schema.FOLD_TABLES):
            connection.execute(
                f"UPDATE {table} SET timeline = ? WHERE timeline = ?", [new_name, name]
            )
        connection.execute("UPDATE timelines SET parent = ? WHERE parent = ?", [new_name, name])


def remove_fork(workspace: Workspace, name: str) -> None:
    """Forget a fork and all that was folded on it; raises `WorkspaceError` where others stand on it."""
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        forks = _child_names(connection, name)
        if forks:
            raise WorkspaceError(f"{forks[0]} is forked from {name}; remove it first.")
        for table in (*_FORK_TABLES, *schema.FOLD_TABLES):
            connection.execute(f"DELETE FROM {table} WHERE timeline = ?", [name])


def refuse_unknown(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Raise `WorkspaceError` when the timeline that a workspace shows is in its file no more."""
    if workspace.timeline != MAIN_TIMELINE:
        _found(connection, workspace, workspace.timeline)


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
