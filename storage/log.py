"""The event log of a workspace, as everything above reads it.

Offsets order it, and nothing else does. Every answer takes time by the size of the answer, not of
the log, except where a docstring says that it scans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from storage import conditions
from storage.connections import arrow, arrow_rows
from storage.workspace import Workspace


@dataclass(frozen=True)
class Extent:
    """How far a log reaches."""

    events: int
    first_time: datetime | None
    last_time: datetime | None


@dataclass(frozen=True)
class EventRow:
    """An event as a list shows it."""

    offset: int
    time: datetime | None
    stream: str | None
    revision: int | None
    type: str | None


@dataclass(frozen=True)
class EventDetail(EventRow):
    """An event with everything that is kept of it. `data` and `meta` are JSON text."""

    version: str | None
    id: str | None
    correlation_id: str | None
    causation_id: str | None
    data: str | None
    meta: str | None
    file: str | None
    """The file that it came from."""
    line: int | None
    source_position: str | None
    """The source's own offset, where it has one."""


@dataclass(frozen=True)
class Density:
    """How many events there are in each of a number of equal stretches."""

    counts: npt.NDArray[np.int64]
    last_offsets: npt.NDArray[np.int64]
    """For each stretch, the last offset in it or before it: where a click seeks to."""
    by_time: bool
    """The stretches are of time; else of offsets."""


_ROW = '"offset", time, stream, revision, type'


class EventLog:
    """Questions about the events of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def extent(self) -> Extent:
        """Scans two columns' statistics."""
        with self._workspace.reading() as connection:
            row = arrow_rows(
                connection,
                'SELECT coalesce(max("offset") + 1, 0) AS events, min(time) AS first,'
                " max(time) AS last FROM events",
            )[0]
        return Extent(row["events"], row["first"], row["last"])

    def rows(self, first: int, count: int) -> list[EventRow]:
        """`count` consecutive events from an offset on."""
        return self._rows('"offset" >= ? AND "offset" < ?', [first, first + count])

    def rows_at(self, offsets: Sequence[int]) -> list[EventRow]:
        """The events at these offsets, in the order of the log."""
        if not offsets:
            return []
        bounds = [min(offsets), max(offsets)]
        return self._rows(
            '"offset" BETWEEN ? AND ? AND list_contains(?, "offset")', [*bounds, list(offsets)]
        )

    def event(self, offset: int) -> EventDetail | None:
        """Everything about one event."""
        with self._workspace.reading() as connection:
            rows = arrow_rows(
                connection,
                f"SELECT {_ROW}, version, id, correlation_id, causation_id, data, meta,"
                " (SELECT path FROM sources AS s WHERE s.source = e.source) AS file,"
                ' line, source_position FROM events AS e WHERE "offset" = ?',
                [offset],
            )
        return EventDetail(**rows[0]) if rows else None

    def next_in_stream(self, stream: str, offset: int) -> int | None:
        """The offset of the stream's next event; scans the streams behind it."""
        return self._one(
            'SELECT min("offset") FROM events WHERE stream = ? AND "offset" > ?', [stream, offset]
        )

    def previous_in_stream(self, stream: str, offset: int) -> int | None:
        """The offset of the stream's event before; scans the streams before it."""
        return self._one(
            'SELECT max("offset") FROM events WHERE stream = ? AND "offset" < ?', [stream, offset]
        )

    def matching(self, condition: str) -> npt.NDArray[np.int64]:
        """All offsets at which a condition that a person typed holds, ascending; scans.

        Raises `QueryError` where the condition doesn't parse or can't be answered.
        """
        with self._workspace.reading() as connection:
            where = conditions.checked(connection, condition, "events")
            return self._offsets(connection, where, [])

    def containing(self, text: str) -> npt.NDArray[np.int64]:
        """All offsets whose type, stream, id or data contains the text, in any case; scans."""
        found = " OR ".join(
            f"contains(lower({column}), lower($text))" for column in ("type", "stream", "id", "data")
        )
        with self._workspace.reading() as connection:
            return self._offsets(connection, found, {"text": text})

    def density(self, stretches: int) -> Density:
        """The log cut into that many stretches: of time if it has times, else of offsets; scans."""
        extent = self.extent()
        if extent.events == 0:
            empty = np.zeros(stretches, dtype=np.int64)
            return Density(empty, empty - 1, by_time=False)
        first, last = extent.first_time, extent.last_time
        if first is None or last is None or first == last:
            edges = np.linspace(0, extent.events, stretches + 1)[1:]
            ends = np.ceil(edges).astype(np.int64) - 1
            return Density(np.diff(ends, prepend=-1), ends, by_time=False)
        width = (last - first).total_seconds() * 1e6 / stretches
        with self._workspace.reading() as connection:
            table = arrow(
                connection,
                "SELECT least(CAST(floor((epoch_us(time) - epoch_us($first)) / $width) AS BIGINT),"
                ' $last) AS stretch, count(*) AS events, max("offset") AS last FROM events'
                " WHERE time IS NOT NULL GROUP BY ALL",
                {"first": first, "width": width, "last": stretches - 1},
            )
        counts = np.zeros(stretches, dtype=np.int64)
        ends = np.full(stretches, -1, dtype=np.int64)
        index = table["stretch"].to_numpy()
        counts[index] = table["events"].to_numpy()
        ends[index] = table["last"].to_numpy()
        return Density(counts, np.maximum.accumulate(ends), by_time=True)

    def _rows(self, condition: str, parameters: Sequence[Any]) -> list[EventRow]:
        with self._workspace.reading() as connection:
            found = arrow_rows(
                connection,
                f'SELECT {_ROW} FROM events WHERE {condition} ORDER BY "offset"',
                parameters,
            )
        return [EventRow(**row) for row in found]

    def _one(self, query: str, parameters: Sequence[Any]) -> int | None:
        with self._workspace.reading() as connection:
            row = connection.execute(query, list(parameters)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    @staticmethod
    def _offsets(
        connection: duckdb.DuckDBPyConnection, condition: str, parameters: Any
    ) -> npt.NDArray[np.int64]:
        table = arrow(
            connection, f'SELECT "offset" FROM events WHERE {condition}', parameters
        )
        found: npt.NDArray[np.int64] = table["offset"].to_numpy()
        return np.sort(found)
