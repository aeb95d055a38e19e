"""Bookmarks: places that a person marked with a note. They are the workspace's, and outlive folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.coordinates.event_labels import Label
from storage.errors import PositionError
from storage.timelines import fork_store
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Bookmark:
    """A place in a workspace, and what a person wrote about it."""

    number: int
    timeline: str
    position: int
    """Its place on the timeline."""
    projection: str | None
    """Its name, as its code may change."""
    key: str | None
    path: str | None
    """As a person writes it: `items.sku-7.qty`."""
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
    """Keep a place on the workspace's timeline."""
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
    """Forget a bookmark; one that isn't there is no mistake."""
    with workspace.writing() as connection:
        connection.execute("DELETE FROM bookmarks WHERE bookmark = ?", [number])


def list_bookmarks(workspace: Workspace) -> list[Bookmark]:
    """All bookmarks on the workspace's timeline, in its order."""
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
    except PositionError:  # what was inserted there was undone
        position = workspace.position_of(Label(offset))
    return Bookmark(number, timeline, position, *rest)
