"""Rows of the table `events` as Arrow tables, for everything that folds events."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from storage.coordinates.fold_scope import FoldScope
from storage.db.query import fetch_arrow
from storage.folds.key_selection import KeySelection, register_offsets
from storage.folds.route_rows import reached_offsets_sql
from storage.log.tombstones import IS_HANDLED_SQL
from storage.quoting import quote_literal
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_LITERAL_KEYS = 100
"""Up to this many keys, the keys are literals in the query."""
_MAX_LITERAL_OFFSETS = 1_000


class EventHead(NamedTuple):
    """What identifies an event for its handlers."""

    offset: int
    type: str | None
    stream: str | None


class EventRows:
    """Reads events of a timeline; tombstones are left out, because no handler receives them."""

    def __init__(self, workspace: Workspace, columns: str) -> None:
        """`columns` is SQL for the columns of the tables, which must include the offset."""
        self._workspace = workspace
        self._columns = columns

    def read_between(self, first: int, end: int, condition: str = "true") -> "pa.Table":
        """Return the events from `first` to before `end` that meet a SQL condition, in any order."""
        return self._fetch(
            f'"offset" >= {int(first)} AND "offset" < {int(end)}'
            f" AND {IS_HANDLED_SQL} AND {condition}"
        )

    def read_at(self, offsets: Sequence[int]) -> "pa.Table":
        """Return the events at these ascending offsets, in order."""
        if len(offsets) <= _MAX_LITERAL_OFFSETS:
            listed = ", ".join(str(int(offset)) for offset in offsets) or "NULL"
            return self._fetch(f'{IS_HANDLED_SQL} AND "offset" IN ({listed}) ORDER BY "offset"')
        between = f'"offset" BETWEEN {int(offsets[0])} AND {int(offsets[-1])}'
        with self._workspace.reading() as connection:
            register_offsets(connection, offsets)
            return fetch_arrow(
                connection,
                f"FROM (SELECT {self._columns} FROM events WHERE {IS_HANDLED_SQL} AND {between})"
                ' SEMI JOIN wanted_offsets USING ("offset") ORDER BY "offset"',
            )

    def read_of_streams(self, streams: Collection[str]) -> "pa.Table":
        """Return all events of these streams, in order."""
        if len(streams) <= _MAX_LITERAL_KEYS:
            listed = ", ".join(quote_literal(stream) for stream in sorted(streams)) or "NULL"
            return self._fetch(f'stream IN ({listed}) ORDER BY "offset"')
        return self._fetch(
            'stream IN (SELECT key FROM wanted) ORDER BY "offset"', KeySelection(streams)
        )

    def read_reaching(
        self, scope: FoldScope, keys: Collection[str], before: int, *, is_routed: bool
    ) -> "pa.Table":
        """Return all events before an offset that reached these documents of a fold, in order.

        `is_routed` tells that `routes` lists the documents of an event; without it, they are streams.
        """
        return self._fetch(
            f'"offset" IN ({reached_offsets_sql(scope, is_routed=is_routed)})'
            f' AND "offset" < {int(before)} ORDER BY "offset"',
            KeySelection(keys),
        )

    def _fetch(self, condition: str, selection: KeySelection | None = None) -> "pa.Table":
        with self._workspace.reading() as connection:
            if selection is not None:
                selection.register(connection)
            return fetch_arrow(connection, f"SELECT {self._columns} FROM events WHERE {condition}")


def find_offsets_of_streams(
    workspace: Workspace, streams: Collection[str], since: int = 0
) -> list[int]:
    """Return the offsets of the events of these streams at or after an offset, ascending."""
    selection = KeySelection(streams)
    with workspace.reading() as connection:
        selection.register(connection)
        table = fetch_arrow(
            connection,
            'SELECT "offset" FROM events WHERE stream IN (SELECT key FROM wanted)'
            f' AND "offset" >= {int(since)} ORDER BY "offset"',
        )
    offsets: list[int] = table["offset"].to_pylist()
    return offsets


def read_event_heads(workspace: Workspace, offsets: Sequence[int]) -> list[EventHead]:
    """Return offset, type and stream of the events at these offsets, in order; tombstones too."""
    query = 'SELECT "offset", type, stream FROM events'
    with workspace.reading() as connection:
        if len(offsets) <= _MAX_LITERAL_OFFSETS:
            listed = ", ".join(str(int(offset)) for offset in offsets) or "NULL"
            query += f' WHERE "offset" IN ({listed})'
        else:
            register_offsets(connection, offsets)
            query += ' SEMI JOIN wanted_offsets USING ("offset")'
        rows = connection.execute(f'{query} ORDER BY "offset"').fetchall()
    return [EventHead(*row) for row in rows]


def count_by_type(workspace: Workspace, types: Collection[str], before: int) -> dict[str, int]:
    """Return the number of events before an offset, by type, for these types; `None` is written so."""
    with workspace.reading() as connection:
        rows = connection.execute(
            "SELECT coalesce(type, 'None'), count(*) FROM events WHERE \"offset\" < ?"
            " AND list_contains(?, coalesce(type, 'None')) GROUP BY 1",
            [before, list(types)],
        ).fetchall()
    return dict(rows)


def has_event_reaching(
    workspace: Workspace, scope: FoldScope, key: str, until: int, *, is_routed: bool
) -> bool:
    """Return whether an event up to an offset reached a document of a fold."""
    reached = reached_offsets_sql(scope, is_routed=is_routed)
    with workspace.reading() as connection:
        KeySelection([key]).register(connection)
        rows = connection.execute(
            f'SELECT 1 FROM ({reached}) WHERE "offset" <= {int(until)} LIMIT 1'
        ).fetchall()
    return bool(rows)
