"""Irregularities of a log: repeated ids, revisions that jump or repeat, times that run backwards.

Revisions and times are compared within a stream. A load counts irregularities by kind and keeps the
first offsets for a lane; the full list is computed on request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.log.tombstones import IS_HANDLED_SQL
from storage.workspace.metadata import read_metadata, write_metadata
from storage.workspace.workspace import Workspace

METADATA_KEY = "irregularities"
KINDS = ("repeated id", "revision jumps", "revision repeats", "time runs backwards")
MAX_LANE_OFFSETS = 100_000
"""Most offsets that are kept for a lane."""
_FETCH_ROWS = 1_000

# The first loaded event of a stream is never irregular: the stream may have begun before the log.
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
    """An event that breaks the order or the identity that a log should have."""

    offset: int
    stream: str | None
    kind: str
    """One of `KINDS`."""
    before: str
    """The revision or time of the stream's previous event; for a repeated id, the offset that first has it."""
    found: str
    """The event's own revision, time or id."""


@dataclass(frozen=True)
class IrregularitySummary:
    """The irregularities that loads counted."""

    counts: Mapping[str, int]
    """By kind."""
    offsets: tuple[int, ...]
    """The first `MAX_LANE_OFFSETS` offsets, ascending."""


def record_irregularities(connection: duckdb.DuckDBPyConnection, first_offset: int) -> None:
    """Find irregularities from `first_offset` on and add them to the stored summary."""
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
    lane_offsets = sorted(set(known_offsets))[:MAX_LANE_OFFSETS]
    write_metadata(connection, METADATA_KEY, {"counts": counts, "places": lane_offsets})


def read_summary(workspace: Workspace) -> IrregularitySummary:
    """Return the stored summary, which is about `main`."""
    with workspace.main_workspace.reading() as connection:
        return _read_summary(connection)


def read_counts(connection: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
    """Return the stored counts by kind."""
    return _read_summary(connection).counts


def find_irregularities(workspace: Workspace, limit: int | None = None) -> Iterator[Irregularity]:
    """Yield the irregularities of the workspace's timeline in order of offset, at most `limit`; scans."""
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
    stored: Any = read_metadata(connection, METADATA_KEY) or {}
    return IrregularitySummary(stored.get("counts", {}), tuple(stored.get("places", ())))
