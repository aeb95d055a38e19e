"""Bookmarks: positions that a person marked with a note. The workspace keeps them across folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.coordinates.event_labels import Label
from storage.errors import PositionError
from storage.timelines import fork_store
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Bookmark:
    """A position on a timeline, or a document at it, with a person's note."""

    number: int
    timeline: str
    position: int
    projection: str | None
    """The projection's name only, because its code may change."""
    key: str | None
    path: str | None
    """A path in the document as a person writes it: `items.sku-7.qty`."""
    note: str


_COLUMNS = 'bookmark, timeline, "offset", inserted, projection, key, path, note'


def add_bookmark(
    workspace: Workspace,
    *,
    offset: int,
    note: str,
    projection: str | None = None,
    key: str | None = None,
    path: str | None = None,
) -> Bookmark:
    """Save a bookmark on the workspace's timeline and return it.

    Raises `WorkspaceError` if the file no longer has this timeline.
    """
    label = workspace.label_at(offset)
    with workspace.writing() as connection:
        fork_store.refuse_unknown(connection, workspace)
        rows = connection.execute(
            "INSERT INTO bookmarks SELECT coalesce(max(bookmark), 0) + 1, ?, ?, ?, ?, ?, ?, ?, now()"
            f" FROM bookmarks RETURNING {_COLUMNS}",
            [workspace.timeline, label.offset, label.inserted, projection, key, path, note],
        ).fetchall()
    return _bookmark_of_row(workspace, rows[0])


def remove_bookmark(workspace: Workspace, number: int) -> None:
    """Delete a bookmark; do nothing if there is none with this number."""
    with workspace.writing() as connection:
        connection.execute("DELETE FROM bookmarks WHERE bookmark = ?", [number])


def list_bookmarks(workspace: Workspace) -> list[Bookmark]:
    """Return the bookmarks on the workspace's timeline, in order of position."""
    with workspace.reading() as connection:
        rows = connection.execute(
            f'SELECT {_COLUMNS} FROM bookmarks WHERE timeline = ? ORDER BY "offset", inserted, bookmark',
            [workspace.timeline],
        ).fetchall()
    return [_bookmark_of_row(workspace, row) for row in rows]


def _bookmark_of_row(workspace: Workspace, row: Sequence[Any]) -> Bookmark:
    number, timeline, offset, inserted, *rest = row
    try:
        position = workspace.position_of(Label(offset, inserted))
    except PositionError:  # the insert of the bookmarked event was undone
        position = workspace.position_of(Label(offset))
    return Bookmark(number, timeline, position, *rest)
