"""What a fold reports besides states: failures, printed output, upcast events and violated invariants."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from replay.history.catalogue import FoldRecord
from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.db.query import fetch_rows
from storage.workspace.workspace import Workspace

FOLD_CONDITION = "projection = ? AND timeline = ?"
"""SQL condition for the rows of one projection on one timeline."""


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
class Failure:
    """A handler that raised; its document keeps the state before the event."""

    offset: int
    key: str | None
    type: str | None
    error: str
    traceback: str


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


class FoldReports:
    """Queries for everything but states, of one projection on one timeline."""

    def __init__(self, workspace: Workspace, fold_record: FoldRecord) -> None:
        self._workspace = workspace
        self.fold_record = fold_record
        self._fold_parameters: list[Any] = [fold_record.projection_number, fold_record.timeline]

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    def invariant_violations(self) -> list[InvariantViolation]:
        """Return the violations of invariants that are Python functions, in the order of the log."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                'SELECT * EXCLUDE (broken) FROM (SELECT invariant, "offset", key, error, broken,'
                ' lead("offset") OVER (PARTITION BY invariant, key ORDER BY "offset") AS until'
                f' FROM turns WHERE {FOLD_CONDITION}) WHERE broken ORDER BY "offset", invariant, key',
                self._fold_parameters,
            )
        return [InvariantViolation(**row) for row in rows]

    def failures(self, first_offset: int = 0, limit: int | None = None) -> list[Failure]:
        """Return the failures from an offset on, in the order of the log, at most `limit`."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        return self._failures(f'"offset" >= ? ORDER BY "offset", key{bound}', first_offset)

    def failures_at(self, offset: int) -> list[Failure]:
        """Return the failures at one event."""
        return self._failures('"offset" = ? ORDER BY key', offset)

    def failure_offsets(self) -> "Offsets[int]":
        """Return all offsets at which a handler raised."""
        return self.offsets_in("failures")

    def upcast_record_at(self, offset: int) -> UpcastRecord | None:
        """Return an event as the projection's `upcast` returned it; None if it wasn't changed."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f'SELECT stream, type, version, data FROM upcasts WHERE {FOLD_CONDITION} AND "offset" = ?',
                [*self._fold_parameters, offset],
            )
        return UpcastRecord(**rows[0]) if rows else None

    def upcast_offsets(self) -> "Offsets[int]":
        """Return the offsets of all events that were upcast."""
        return self.offsets_in("upcasts")

    def unhandled_events(self) -> list[UnhandledEvents]:
        """Return the types and versions of events without a handler, by first occurrence.

        Scans the events.
        """
        names = list(self.fold_record.unhandled_by_type)
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                'SELECT type, version, count(*) AS events, min("offset") AS "offset" FROM'
                " (SELECT coalesce(u.type, e.type) AS type, coalesce(u.version, e.version) AS version,"
                ' e."offset" FROM events AS e LEFT JOIN (SELECT "offset", type, version FROM upcasts'
                f' WHERE {FOLD_CONDITION}) AS u ON u."offset" = e."offset" WHERE e."offset" < ?)'
                " WHERE list_contains(?, coalesce(type, 'None')) GROUP BY ALL ORDER BY 4",
                [*self._fold_parameters, self.fold_record.next_offset, names],
            )
        return [UnhandledEvents(**row) for row in rows]

    def printed_output_at(self, offset: int) -> str:
        """Return what handlers wrote to standard output and error at one event; may be empty."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f'SELECT text FROM printed WHERE {FOLD_CONDITION} AND "offset" = ? ORDER BY place',
                [*self._fold_parameters, offset],
            ).fetchall()
        return "".join(text for (text,) in found)

    def printed_output(self, limit: int | None = None) -> Iterator[tuple[int, str]]:
        """Yield offsets and the texts that handlers printed there, in the order of the log."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        with self._workspace.reading() as connection:
            answer = connection.execute(
                f"SELECT \"offset\", string_agg(text, '' ORDER BY place) FROM printed WHERE {FOLD_CONDITION}"
                f' GROUP BY "offset" ORDER BY "offset"{bound}',
                self._fold_parameters,
            )
            for page in iter(lambda: answer.fetchmany(10_000), []):
                yield from page

    def printed_offsets(self) -> "Offsets[int]":
        """Return all offsets at which a handler printed something."""
        return self.offsets_in("printed")

    def offsets_in(self, table: str) -> "Offsets[int]":
        """Return all offsets that a table of the workspace has for this fold.

        `table` goes into the SQL unquoted, so it must be a constant.
        """
        with self._workspace.reading() as connection:
            answer = connection.execute(
                f'SELECT DISTINCT "offset" FROM {table} WHERE {FOLD_CONDITION} ORDER BY "offset"',
                self._fold_parameters,
            )
            pages = iter(lambda: answer.fetchmany(10_000), [])
            return pack_offsets(offset for page in pages for (offset,) in page)

    def _failures(self, condition: str, offset: int) -> list[Failure]:
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f'SELECT "offset", key, type, error, traceback FROM failures WHERE {FOLD_CONDITION}'
                f" AND {condition}",
                [*self._fold_parameters, offset],
            )
        return [Failure(**row) for row in rows]
