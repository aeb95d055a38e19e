"""Rows of the table `failures`: the events at which a handler raised."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from storage.coordinates.fold_scope import FoldScope
from storage.db.query import fetch_rows
from storage.folds.key_selection import KeySelection, register_offsets
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Failure:
    """A handler that raised; its document keeps the state before the event."""

    offset: int
    key: str | None
    """The document; None if the projection's `key` function raised."""
    type: str | None
    error: str
    traceback: str


class FailureRows:
    """Reads the failures of one fold."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_from(self, first_offset: int, limit: int | None = None) -> list[Failure]:
        """Return the failures from an offset on, in the order of the log, at most `limit`."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        return self._read(f'"offset" >= ? ORDER BY "offset", key{bound}', first_offset)

    def read_at(self, offset: int) -> list[Failure]:
        """Return the failures at one event."""
        return self._read('"offset" = ? ORDER BY key', offset)

    def find_unrouted(self, offsets: Collection[int]) -> set[int]:
        """Return those of these offsets whose events failed before they reached a document."""
        with self._workspace.reading() as connection:
            register_offsets(connection, offsets)
            rows = connection.execute(
                'SELECT "offset" FROM failures SEMI JOIN wanted_offsets USING ("offset")'
                f" WHERE {self._scope.condition} AND key IS NULL"
            ).fetchall()
        return {offset for (offset,) in rows}

    def count_since(
        self, offset: int, selection: KeySelection, unrouted_offsets: Collection[int]
    ) -> int:
        """Return the number of failures of the selected documents at or after an offset, and of
        events among `unrouted_offsets` that reached no document."""
        return count_handled_rows(
            self._workspace, self._scope, "failures", offset, selection, unrouted_offsets
        )

    def _read(self, condition: str, *parameters: Any) -> list[Failure]:
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                'SELECT "offset", key, type, error, traceback FROM failures'
                f" WHERE {self._scope.condition} AND {condition}",
                parameters,
            )
        return [Failure(**row) for row in rows]


def count_handled_rows(
    workspace: Workspace,
    scope: FoldScope,
    table: str,
    offset: int,
    selection: KeySelection,
    unrouted_offsets: Collection[int],
) -> int:
    """Count rows of a table whose key is NULL while no document is known; see `count_since`.

    `table` goes into the SQL unquoted, so it must be a constant.
    """
    with workspace.reading() as connection:
        selection.register(connection)
        register_offsets(connection, unrouted_offsets)
        ((count,),) = connection.execute(
            f'SELECT count(*) FROM {table} WHERE {scope.condition} AND "offset" >= {int(offset)}'
            f' AND ({selection.condition} OR (key IS NULL AND "offset" IN'
            ' (SELECT "offset" FROM wanted_offsets)))'
        ).fetchall()
    return int(count)
