"""Reads the event log of a workspace for all other layers.

The offset alone orders events. The time of a call grows with the size of its result, not with the
size of the log, unless its docstring says that it scans.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

import duckdb

from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.db.query import fetch_arrow, fetch_rows, time_from_micros
from storage.query import condition_parser
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class LogExtent:
    """The number of events of a log and its first and last time."""

    event_count: int
    first_time: datetime | None
    last_time: datetime | None


@dataclass(frozen=True)
class EventSummary:
    """The columns of an event that a list shows."""

    offset: int
    time: datetime | None
    stream: str | None
    revision: int | None
    type: str | None
    id: str | None


@dataclass(frozen=True)
class EventDetail(EventSummary):
    """An event with all its stored fields. `data` and `meta` are JSON text."""

    version: str | None
    correlation_id: str | None
    causation_id: str | None
    data: str | None
    meta: str | None
    file: str | None
    """The path or link of the source."""
    line: int | None
    source_position: str | None
    """The source's own offset, if it has one."""


@dataclass(frozen=True)
class EventDensity:
    """Event counts of equal stretches of the log."""

    counts: Sequence[int]
    last_offsets: Sequence[int]
    """For each stretch, the last offset in it or before it; a click on the stretch seeks there."""
    is_by_time: bool
    """True if the stretches divide time, False if they divide offsets."""


_DETAILS_AT_ONCE = 5_000
_SUMMARY_COLUMNS = '"offset", epoch_us(time) AS time, stream, revision, type, id'


class EventLog:
    """Reads events from a workspace, on its timeline."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def read_extent(self) -> LogExtent:
        """Return the number of positions and the first and last time, from column statistics."""
        with self._workspace.reading() as connection:
            row = fetch_rows(
                connection,
                "SELECT epoch_us(min(time)) AS first, epoch_us(max(time)) AS last FROM events",
            )[0]
            events = self._workspace.count_positions(connection)
        return LogExtent(events, time_from_micros(row["first"]), time_from_micros(row["last"]))

    def read_events(self, first: int, count: int) -> list[EventSummary]:
        """Return the events at `count` consecutive offsets from `first` on."""
        return self._read_where('"offset" >= ? AND "offset" < ?', [first, first + count])

    def read_events_at(self, offsets: Sequence[int]) -> list[EventSummary]:
        """Return the events at these offsets, in the order of the log."""
        if not offsets:
            return []
        return self._read_where(
            f'"offset" IN ({", ".join(str(int(offset)) for offset in offsets)})', []
        )

    def read_event(self, offset: int) -> EventDetail | None:
        """Return one event with all its fields, or None if there is none at this offset."""
        return next(iter(self.read_details(offset, 1)), None)

    def read_details(self, first: int, count: int) -> list[EventDetail]:
        """Return events at `count` consecutive offsets from `first` on, with all their fields."""
        return self._details('"offset" >= ? AND "offset" < ?', [first, first + count])

    def details_at(self, offsets: Sequence[int]) -> Iterator[EventDetail]:
        """Yield the events at these ascending offsets with all their fields; reads in batches."""
        for first in range(0, len(offsets), _DETAILS_AT_ONCE):
            batch = [int(offset) for offset in offsets[first : first + _DETAILS_AT_ONCE]]
            # The bounds let DuckDB skip the rest of the table; a list alone would not.
            yield from self._details(
                '"offset" >= ? AND "offset" <= ? AND "offset" IN (SELECT unnest(?::BIGINT[]))',
                [batch[0], batch[-1], batch],
            )

    def _details(self, condition: str, parameters: Sequence[Any]) -> list[EventDetail]:
        with self._workspace.reading() as connection:
            found = fetch_rows(
                connection,
                f"SELECT {_SUMMARY_COLUMNS}, version, correlation_id, causation_id, data, meta,"
                " (SELECT path FROM sources AS s WHERE s.source = e.source) AS file,"
                f' line, source_position FROM events AS e WHERE {condition} ORDER BY "offset"',
                parameters,
            )
        return [EventDetail(**{**row, "time": time_from_micros(row["time"])}) for row in found]

    def find_next_in_stream(self, stream: str, offset: int) -> int | None:
        """Return the offset of the stream's next event, or None; scans the streams after the offset."""
        return self._read_offset(
            'SELECT min("offset") FROM events WHERE stream = ? AND "offset" > ?', [stream, offset]
        )

    def find_previous_in_stream(self, stream: str, offset: int) -> int | None:
        """Return the offset of the stream's previous event, or None; scans the streams before the offset."""
        return self._read_offset(
            'SELECT max("offset") FROM events WHERE stream = ? AND "offset" < ?', [stream, offset]
        )

    def find_matching(self, condition: str) -> "Offsets[int]":
        """Return all offsets at which a condition of the user holds, ascending; scans.

        Raises `QueryError` if the condition doesn't parse or can't be answered.
        """
        with self._workspace.reading() as connection:
            where = condition_parser.check_condition(connection, condition, "events")
            try:
                return self._read_offsets(connection, where, [])
            except (duckdb.DataError, duckdb.InvalidInputException) as error:
                raise condition_parser.translate_condition_error(
                    condition, "events", error
                ) from error

    def find_containing(self, text: str) -> "Offsets[int]":
        """Return all offsets whose type, stream, id or data contains the text, ignoring case; scans."""
        found = " OR ".join(
            f"contains(lower({column}), lower($text))"
            for column in ("type", "stream", "id", "data")
        )
        with self._workspace.reading() as connection:
            return self._read_offsets(connection, found, {"text": text})

    def read_density(self, stretches: int) -> EventDensity:
        """Return event counts over equal stretches: of time if the log has times, else of offsets; scans."""
        extent = self.read_extent()
        first, last, events = extent.first_time, extent.last_time, extent.event_count
        if first is None or last is None or first == last:
            ends = [-(-events * (i + 1) // stretches) - 1 for i in range(stretches)]
            counts = [end - before for before, end in zip([-1, *ends], ends, strict=False)]
            return EventDensity(counts, ends, is_by_time=False)
        width = (last - first).total_seconds() * 1e6 / stretches
        with self._workspace.reading() as connection:
            found = connection.execute(
                "SELECT least(CAST(floor((epoch_us(time) - epoch_us($first)) / $width) AS BIGINT),"
                " $last), count(*) FROM events WHERE time IS NOT NULL GROUP BY ALL",
                {"first": first, "width": width, "last": stretches - 1},
            ).fetchall()
            counts = [0] * stretches
            for stretch, count in found:
                counts[stretch] = count
            # One event whose time is out of order must not move the end of any other stretch.
            ends = [count - 1 for count in accumulate(counts)]
            if ends[-1] != events - 1:
                timed = self._read_offsets(connection, "time IS NOT NULL", [])
                ends = [timed[end] if end >= 0 else -1 for end in ends]
        return EventDensity(counts, ends, is_by_time=True)

    def _read_where(self, condition: str, parameters: Sequence[Any]) -> list[EventSummary]:
        with self._workspace.reading() as connection:
            found = fetch_rows(
                connection,
                f'SELECT {_SUMMARY_COLUMNS} FROM events WHERE {condition} ORDER BY "offset"',
                parameters,
            )
        return [EventSummary(**{**row, "time": time_from_micros(row["time"])}) for row in found]

    def _read_offset(self, query: str, parameters: Sequence[Any]) -> int | None:
        with self._workspace.reading() as connection:
            row = connection.execute(query, list(parameters)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    @staticmethod
    def _read_offsets(
        connection: duckdb.DuckDBPyConnection, condition: str, parameters: Any
    ) -> "Offsets[int]":
        table = fetch_arrow(
            connection,
            f'SELECT "offset" FROM events WHERE {condition} ORDER BY "offset"',
            parameters,
        )
        return pack_offsets(table["offset"].to_numpy().tobytes())
