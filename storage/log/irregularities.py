"""What is irregular in a log: ids that come again, revisions that jump or repeat, times that run backwards.

Revisions and times are compared within a stream. They are found when a log is loaded, counted by kind, and
the first ones' places are kept, for a lane; the list is asked for when somebody wants it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.log.tombstones import IS_HANDLED_SQL
from storage.workspace.workspace import Workspace, read_metadata, write_metadata

METADATA_KEY = "irregularities"
KINDS = ("repeated id", "revision jumps", "revision repeats", "time runs backwards")
MAX_LANE_OFFSETS = 100_000
"""Places that are kept for a lane."""
_FETCH_ROWS = 1_000

# What a stream lacks before the first event that was loaded isn't known.
_STREAM_IRREGULARITIES = """
SELECT "offset", stream, CASE WHEN revision > was + 1 THEN 'revision jumps'
  WHEN revision <= was THEN 'revision repeats' END AS kind,
  CAST(was AS VARCHAR) AS before, CAST(revision AS VARCHAR) AS found
FROM neighbours WHERE revision <> was + 1
UNION ALL
SELECT "offset", stream, 'time runs backwards', CAST(earlier AS VARCHAR), CAST(time AS VARCHAR)
FROM neighbours WHERE time < earlier
"""
_NEIGHBOURS = """
SELECT "offset", stream, revision, time,
  lag(revision) OVER of_stream AS was, lag(time) OVER of_stream AS earlier
FROM events WHERE {handled} {among} WINDOW of_stream AS (PARTITION BY stream ORDER BY "offset")
"""
_REPEATED_IDS = """
SELECT "offset", stream, 'repeated id', CAST(first AS VARCHAR), e.id
FROM events AS e JOIN
  (SELECT id, min("offset") AS first FROM events WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1) AS r
ON e.id = r.id AND e."offset" > first
"""


@dataclass(frozen=True)
class Irregularity:
    """Something that shouldn't be in a log."""

    offset: int
    stream: str | None
    kind: str
    """One of `KINDS`."""
    before: str
    """The revision or time of the event before in the stream; the offset that has the same id."""
    found: str
    """The revision, the time, or the id."""


@dataclass(frozen=True)
class IrregularitySummary:
    """What was found when the log was loaded."""

    counts: Mapping[str, int]
    offsets: tuple[int, ...]


def record_irregularities(connection: duckdb.DuckDBPyConnection, first_offset: int) -> None:
    """Look through the events from `first` on, and keep what is found with what was known."""
    known_before = _read_summary(connection) if first_offset else IrregularitySummary({}, ())
    among = (
        f'AND stream IN (SELECT stream FROM events WHERE "offset" >= {int(first_offset)})'
        if first_offset
        else ""
    )
    counts, known_offsets = dict(known_before.counts), list(known_before.offsets)
    rows = connection.execute(
        f'SELECT kind, count(*), list("offset" ORDER BY "offset")[:{MAX_LANE_OFFSETS}]'
        f' FROM ({_irregularities_sql(among)}) WHERE "offset" >= {int(first_offset)} GROUP BY kind'
    ).fetchall()
    for kind, count, offsets in rows:
        counts[kind] = counts.get(kind, 0) + count
        known_offsets += offsets
    kept = sorted(set(known_offsets))[:MAX_LANE_OFFSETS]
    write_metadata(connection, METADATA_KEY, {"counts": counts, "places": kept})


def read_summary(workspace: Workspace) -> IrregularitySummary:
    """What was found when the log was loaded, on `main`."""
    with workspace.main_workspace.reading() as connection:
        return _read_summary(connection)


def read_counts(connection: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
    """How many there are, by kind."""
    return _read_summary(connection).counts


def find_irregularities(workspace: Workspace, limit: int | None = None) -> Iterator[Irregularity]:
    """All of them, in the order of the log; of a fork, those on the fork."""
    cut = "" if limit is None else f" LIMIT {int(limit)}"
    with workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset", stream, kind, before, found FROM ({_irregularities_sql("")})'
            f' ORDER BY "offset", kind{cut}'
        )
        while rows := found.fetchmany(_FETCH_ROWS):
            for row in rows:
                yield Irregularity(*row)


def _irregularities_sql(stream_condition: str) -> str:
    neighbours = _NEIGHBOURS.format(handled=IS_HANDLED_SQL, among=stream_condition)
    return f"WITH neighbours AS ({neighbours}) {_STREAM_IRREGULARITIES} UNION ALL {_REPEATED_IDS}"


def _read_summary(connection: duckdb.DuckDBPyConnection) -> IrregularitySummary:
    said: Any = read_metadata(connection, METADATA_KEY) or {}
    return IrregularitySummary(said.get("counts", {}), tuple(said.get("places", ())))
