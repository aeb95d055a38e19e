"""Rows of the table `routes`: the documents that each event reached, if these aren't the streams."""

from collections.abc import Collection

from storage.coordinates.fold_scope import FoldScope
from storage.folds.key_selection import KeySelection, register_offsets
from storage.workspace.workspace import Workspace


class RouteRows:
    """Reads which events of one fold reached which documents."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def has_rows(self) -> bool:
        """Return whether the projection chooses its keys, so that its documents are not the streams."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f"SELECT 1 FROM routes WHERE {self._scope.condition} LIMIT 1"
            ).fetchall()
        return bool(found)

    def find_first_key(self, offset: int) -> str | None:
        """Return the first key that an event reached; None if it reached none."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT key FROM routes WHERE {self._scope.condition} AND "offset" = ?'
                " ORDER BY key LIMIT 1",
                [offset],
            ).fetchall()
        return str(rows[0][0]) if rows else None

    def read_to_keys(self, keys: Collection[str], since: int = 0) -> list[tuple[int, str]]:
        """Return offset and key of each event that reached these documents since an offset, in order."""
        selection = KeySelection(keys)
        with self._workspace.reading() as connection:
            selection.register(connection)
            return connection.execute(
                'SELECT "offset", key FROM routes SEMI JOIN wanted USING (key)'
                f' WHERE {self._scope.condition} AND "offset" >= ? ORDER BY "offset"',
                [since],
            ).fetchall()

    def read_keys_by_offset(self, offsets: Collection[int]) -> dict[int, set[str]]:
        """Return the keys that these events reached, by offset."""
        with self._workspace.reading() as connection:
            register_offsets(connection, offsets)
            rows = connection.execute(
                'SELECT "offset", key FROM routes SEMI JOIN wanted_offsets USING ("offset")'
                f" WHERE {self._scope.condition}"
            ).fetchall()
        found: dict[int, set[str]] = {}
        for offset, key in rows:
            found.setdefault(offset, set()).add(key)
        return found


def reached_offsets_sql(scope: FoldScope, *, is_routed: bool) -> str:
    """Return SQL for the offsets of all events that reached the keys in the table `wanted`."""
    if is_routed:
        return f'SELECT "offset" FROM routes SEMI JOIN wanted USING (key) WHERE {scope.condition}'
    return 'SELECT "offset" FROM events SEMI JOIN wanted ON stream = key'
