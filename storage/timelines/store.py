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
from storage.db.query import rows as rows_of
from storage.db.query import utc
from storage.errors import StaleError, WorkspaceError
from storage.timelines import edits
from storage.timelines.edits import Edit
from storage.workspace import schema
from storage.workspace.workspace import MAIN, Workspace

_NAME = re.compile(r"[\w][\w.-]{0,63}")
_NAMED = "SELECT 1 FROM timelines WHERE timeline = ?"
_OF_FORKS = ("timelines", "edits", "bookmarks")
"""Tables of what a person made."""


@dataclass(frozen=True)
class Timeline:
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
    def active(self) -> list[Edit]:
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
            [e.kind.value, str(e.label), str(e.after), str(e.moved), e.said, _told(e.event)]
            for e in self.active
        ]
        text = json.dumps([str(self.at), said])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _told(event: edits.Event | None) -> list[Any] | None:
    if event is None:
        return None
    return [None if v is None else str(v) for v in vars(event).values()]


def checked_name(name: str) -> str:
    """The name, where a fork can have it; raises `WorkspaceError`."""
    if name == MAIN:
        raise WorkspaceError("The log itself is called main; give the fork another name.")
    if not _NAME.fullmatch(name):
        raise WorkspaceError(
            f"{name!r} can't be a timeline's name; use up to 64 letters, digits, dots, dashes and _."
        )
    return name


def known(workspace: Workspace) -> list[Timeline]:
    """All forks, parents before their forks, the oldest first."""
    with workspace.file.reading() as connection:
        return in_order(_read(connection))


def in_order(forks: Sequence[Timeline]) -> list[Timeline]:
    """Parents before their forks."""
    ordered: list[Timeline] = []

    def place(parent: str) -> None:
        for one in forks:
            if one.parent == parent:
                ordered.append(one)
                place(one.name)

    place(MAIN)
    return ordered


def find(workspace: Workspace, name: str) -> Timeline:
    """The fork of that name; raises `WorkspaceError`."""
    with workspace.file.reading() as connection:
        return _found(connection, workspace, name)


def _found(connection: duckdb.DuckDBPyConnection, workspace: Workspace, name: str) -> Timeline:
    found = _read(connection, name)
    if not found:
        there = ", ".join([MAIN, *(one.name for one in _read(connection))])
        raise WorkspaceError(f"{workspace.path} has no timeline called {name!r}; it has: {there}.")
    return found[0]


def lineage(workspace: Workspace, name: str) -> list[Timeline]:
    """The forks from `main` to the one of that name; none for `main`. Raises `WorkspaceError`."""
    line: list[Timeline] = []
    while name != MAIN:
        line.insert(0, find(workspace, name))
        name = line[0].parent
        if name in [one.name for one in line]:
            raise WorkspaceError(f"{workspace.path} is damaged: {name} is forked from itself.")
    return line


def refuse_name(workspace: Workspace, name: str) -> None:
    """Raise `WorkspaceError` where no new fork can be called so."""
    checked_name(name)
    with workspace.file.reading() as connection:
        _refuse_taken(connection, name)


def _refuse_taken(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    if connection.execute(_NAMED, [name]).fetchall():
        raise WorkspaceError(
            f"There is a timeline called {name} already; give the fork another name."
        )


def refuse_stale(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Timeline]) -> None:
    """Raise `StaleError` unless the file holds these forks as they were read."""
    for fork in lineage:
        there = _read(connection, fork.name)
        if not there or there[0].content != fork.content:
            what = "edited" if there else "removed or renamed"
            raise StaleError(
                f"The timeline {fork.name} was {what} by another refold after it was read, so nothing"
                " was written; run this again."
            )


def create(connection: duckdb.DuckDBPyConnection, lineage: Sequence[Timeline]) -> None:
    """Keep the last of these forks as a new one; raise `WorkspaceError` if its name is taken."""
    *above, fork = lineage
    refuse_stale(connection, above)
    _refuse_taken(connection, fork.name)
    connection.execute(
        'INSERT INTO timelines (timeline, parent, "offset", inserted, note, created)'
        " VALUES (?, ?, ?, ?, ?, now())",
        [fork.name, fork.parent, fork.at.offset, fork.at.inserted, fork.note],
    )
    edits.write(connection, fork.name, fork.edits)


def keep(
    connection: duckdb.DuckDBPyConnection,
    lineage: Sequence[Timeline],
    before: Timeline | None = None,
) -> bool:
    """Keep the last of these forks as it is now, and return whether it is new.

    `before` is the fork before it was edited, where it was. Raise `StaleError` when the file holds
    other forks than these, and `WorkspaceError` when the name is taken or others stand on the fork.
    """
    *above, fork = lineage
    there = _read(connection, fork.name)
    if not there and (before or fork).created is None:
        create(connection, lineage)
        return True
    if before is None and fork.created is None and there[0].content != fork.content:
        _refuse_taken(connection, fork.name)
    refuse_stale(connection, [*above, before or fork])
    if there[0].content != fork.content:
        _change(connection, fork)
    return False


def refuse_change(workspace: Workspace, name: str) -> None:
    """Raise `WorkspaceError` where a fork has to stay as it is."""
    with workspace.file.reading() as connection:
        _refuse_change(connection, name)


def _refuse_change(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    forks = _forks(connection, name)
    if forks:
        raise WorkspaceError(
            f"{forks[0]} is forked from {name}, which so stays as it is;"
            f" fork {name} again to edit further."
        )


def _change(connection: duckdb.DuckDBPyConnection, timeline: Timeline) -> None:
    _refuse_change(connection, timeline.name)
    connection.execute(
        'UPDATE timelines SET "offset" = ?, inserted = ? WHERE timeline = ?',
        [timeline.at.offset, timeline.at.inserted, timeline.name],
    )
    edits.write(connection, timeline.name, timeline.edits)


def annotate(workspace: Workspace, name: str, note: str) -> None:
    """Give a fork another note."""
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        connection.execute("UPDATE timelines SET note = ? WHERE timeline = ?", [note, name])


def rename(workspace: Workspace, name: str, new: str) -> None:
    """Give a fork another name; raises `WorkspaceError` where it can't have it."""
    checked_name(new)
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        if connection.execute(_NAMED, [new]).fetchall():
            raise WorkspaceError(f"There is a timeline called {new} already.")
        for table in (*_OF_FORKS, *schema.OF_FOLDS):
            connection.execute(f"UPDATE {table} SET timeline = ? WHERE timeline = ?", [new, name])
        connection.execute("UPDATE timelines SET parent = ? WHERE parent = ?", [new, name])


def remove(workspace: Workspace, name: str) -> None:
    """Forget a fork and all that was folded on it; raises `WorkspaceError` where others stand on it."""
    with workspace.writing() as connection:
        _found(connection, workspace, name)
        forks = _forks(connection, name)
        if forks:
            raise WorkspaceError(f"{forks[0]} is forked from {name}; remove it first.")
        for table in (*_OF_FORKS, *schema.OF_FOLDS):
            connection.execute(f"DELETE FROM {table} WHERE timeline = ?", [name])


def refuse_unknown(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Raise `WorkspaceError` when the timeline that a workspace shows is in its file no more."""
    if workspace.timeline != MAIN:
        _found(connection, workspace, workspace.timeline)


def _forks(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    found = connection.execute("SELECT timeline FROM timelines WHERE parent = ?", [name]).fetchall()
    return [fork for (fork,) in found]


def _read(connection: duckdb.DuckDBPyConnection, name: str | None = None) -> list[Timeline]:
    condition = "" if name is None else "WHERE timeline = $name"
    rows = rows_of(
        connection,
        'SELECT timeline, parent, "offset", inserted, note, epoch_us(created) AS created'
        f" FROM timelines {condition} ORDER BY created, timeline",
        {} if name is None else {"name": name},
    )
    return [
        Timeline(
            row["timeline"],
            row["parent"],
            Label(row["offset"], row["inserted"]),
            row["note"],
            edits.read(connection, row["timeline"]),
            utc(row["created"]),
        )
        for row in rows
    ]
