"""Rows of the tables `turns`, `upcasts` and `printed`: what handlers report besides states."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from storage.coordinates.fold_scope import FoldScope
from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.db.query import fetch_rows
from storage.folds.key_selection import register_offsets
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class InvariantViolation:
    """A stretch of the log over which an invariant was violated."""

    invariant: str
    offset: int
    """The event that violated it."""
    key: str | None
    """The document; None if the invariant is about all documents."""
    error: str | None
    """The error that the invariant raised, which counts as a violation; None if it returned false."""
    until: int | None
    """The event after which it held again; None if it never did."""


@dataclass(frozen=True)
class UpcastRecord:
    """An event as the projection's `upcast` returned it, if that differs from the stored event."""

    stream: str | None
    type: str | None
    version: str | None
    data: str | None
    """JSON; None if it can't be written as JSON."""


@dataclass(frozen=True)
class UnhandledEvents:
    """The events of a type and version for which the projection has no handler."""

    type: str | None
    version: str | None
    events: int
    """The number of events."""
    offset: int
    """The first of them."""


class InvariantRows:
    """Reads where invariants that are functions of the projection were violated (table `turns`)."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_violations(self) -> list[InvariantViolation]:
        """Return the violations in the order of the log."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                'SELECT * EXCLUDE (broken) FROM (SELECT invariant, "offset", key, error, broken,'
                ' lead("offset") OVER (PARTITION BY invariant, key ORDER BY "offset") AS until'
                f" FROM turns WHERE {self._scope.condition})"
                ' WHERE broken ORDER BY "offset", invariant, key',
            )
        return [InvariantViolation(**row) for row in rows]

    def find_broken(self, key: str, until: int) -> list[str]:
        """Return the names of the invariants that a document breaks after an offset."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                "SELECT invariant FROM (SELECT invariant, broken FROM turns"
                f' WHERE {self._scope.condition} AND key = ? AND "offset" <= ?'
                ' QUALIFY row_number() OVER (PARTITION BY invariant ORDER BY "offset" DESC) = 1)'
                " WHERE broken ORDER BY invariant",
                [key, until],
            ).fetchall()
        return [name for (name,) in rows]


class UpcastRows:
    """Reads the events that the projection's `upcast` changed."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_at(self, offset: int) -> UpcastRecord | None:
        """Return an event as the projection's `upcast` returned it; None if it wasn't changed."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                "SELECT stream, type, version, data FROM upcasts"
                f' WHERE {self._scope.condition} AND "offset" = ?',
                [offset],
            )
        return UpcastRecord(**rows[0]) if rows else None

    def read_types(self, offsets: Collection[int]) -> dict[int, str | None]:
        """Return the types of those of these events that were upcast, by offset."""
        with self._workspace.reading() as connection:
            register_offsets(connection, offsets)
            rows = connection.execute(
                'SELECT "offset", type FROM upcasts SEMI JOIN wanted_offsets USING ("offset")'
                f" WHERE {self._scope.condition}"
            ).fetchall()
        return dict(rows)

    def read_unhandled_events(
        self, type_names: Sequence[str], next_offset: int
    ) -> list[UnhandledEvents]:
        """Return the events before an offset that have one of these types as they reach handlers, by
        type and version, in the order of their first event. Scans the events."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                'SELECT type, version, count(*) AS events, min("offset") AS "offset" FROM'
                " (SELECT coalesce(u.type, e.type) AS type, coalesce(u.version, e.version) AS version,"
                ' e."offset" FROM events AS e LEFT JOIN (SELECT "offset", type, version FROM upcasts'
                f' WHERE {self._scope.condition}) AS u ON u."offset" = e."offset" WHERE e."offset" < ?)'
                " WHERE list_contains(?, coalesce(type, 'None')) GROUP BY ALL ORDER BY 4",
                [next_offset, list(type_names)],
            )
        return [UnhandledEvents(**row) for row in rows]


class PrintedRows:
    """Reads what handlers wrote to standard output and error."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_at(self, offset: int) -> str:
        """Return what handlers printed at one event; may be empty."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f'SELECT text FROM printed WHERE {self._scope.condition} AND "offset" = ?'
                " ORDER BY place",
                [offset],
            ).fetchall()
        return "".join(text for (text,) in found)

    def iterate_texts(self, limit: int | None = None) -> Iterator[tuple[int, str]]:
        """Yield offsets and the texts that handlers printed there, in the order of the log."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        with self._workspace.reading() as connection:
            answer = connection.execute(
                "SELECT \"offset\", string_agg(text, '' ORDER BY place) FROM printed"
                f' WHERE {self._scope.condition} GROUP BY "offset" ORDER BY "offset"{bound}'
            )
            for page in iter(lambda: answer.fetchmany(10_000), []):
                yield from page


def read_offsets(workspace: Workspace, scope: FoldScope, table: str) -> "Offsets[int]":
    """Return all offsets that a table has for a fold, each once and ascending.

    `table` goes into the SQL unquoted, so it must be a constant.
    """
    with workspace.reading() as connection:
        answer = connection.execute(
            f'SELECT DISTINCT "offset" FROM {table} WHERE {scope.condition} ORDER BY "offset"'
        )
        pages = iter(lambda: answer.fetchmany(10_000), [])
        return pack_offsets(offset for page in pages for (offset,) in page)
