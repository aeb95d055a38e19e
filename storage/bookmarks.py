"""Bookmarks: places that a person marked with a note. They are the workspace's, and outlive folds."""

from dataclasses import dataclass

from storage.workspace import Workspace


@dataclass(frozen=True)
class Bookmark:
    """A place in a workspace, and what a person wrote about it."""

    number: int
    timeline: str
    offset: int
    projection: str | None
    """Its name, as its code may change."""
    key: str | None
    path: str | None
    """As a person writes it: `items.sku-7.qty`."""
    note: str


_COLUMNS = 'bookmark, timeline, "offset", projection, key, path, note'


def add(
    workspace: Workspace,
    *,
    timeline: str,
    offset: int,
    note: str,
    projection: str | None = None,
    key: str | None = None,
    path: str | None = None,
) -> Bookmark:
    """Keep a place."""
    with workspace.writing() as connection:
        rows = connection.execute(
            "INSERT INTO bookmarks SELECT coalesce(max(bookmark), 0) + 1, ?, ?, ?, ?, ?, ?, now()"
            f" FROM bookmarks RETURNING {_COLUMNS}",
            [timeline, offset, projection, key, path, note],
        ).fetchall()
    return Bookmark(*rows[0])


def remove(workspace: Workspace, number: int) -> None:
    """Forget a bookmark; one that isn't there is no mistake."""
    with workspace.writing() as connection:
        connection.execute("DELETE FROM bookmarks WHERE bookmark = ?", [number])


def kept(workspace: Workspace, timeline: str) -> list[Bookmark]:
    """All bookmarks of a timeline, in the order of the log."""
    with workspace.reading() as connection:
        rows = connection.execute(
            f'SELECT {_COLUMNS} FROM bookmarks WHERE timeline = ? ORDER BY "offset", bookmark',
            [timeline],
        ).fetchall()
    return [Bookmark(*row) for row in rows]
