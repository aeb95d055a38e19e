"""What is irregular in a log: ids that come again, revisions that jump or repeat, times that run backwards.

Revisions and times are compared within a stream. They are found when a log is loaded, counted by kind, and
the first ones' places are kept, for a lane; the list is asked for when somebody wants it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.log.tombstones import HANDLED
from storage.workspace.workspace import Workspace, read_fact, write_fact

FACT = "irregularities"
KINDS = ("repeated id", "revision jumps", "revision repeats", "time runs backwards")
MOST_PLACES = 100_000
"""Places that are kept for a lane."""
_AT_ONCE = 1_000

# What a stream lacks before the first event that was loaded isn't known.
_IN_STREAMS = """
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
_REPEATED = """
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
class Known:
    """What was found when the log was loaded."""

    counts: Mapping[str, int]
    places: tuple[int, ...]


def note(connection: duckdb.DuckDBPyConnection, first: int) -> None:
    """Look through the events from `first` on, and keep what is found with what was known."""
    before = _known(connection) if first else Known({}, ())
    among = (
        f'AND stream IN (SELECT stream FROM events WHERE "offset" >= {int(first)})' if first else ""
    )
    counts, places = dict(before.counts), list(before.places)
    rows = connection.execute(
        f'SELECT kind, count(*), list("offset" ORDER BY "offset")[:{MOST_PLACES}]'
        f' FROM ({_all(among)}) WHERE "offset" >= {int(first)} GROUP BY kind'
    ).fetchall()
    for kind, count, offsets in rows:
        counts[kind] = counts.get(kind, 0) + count
        places += offsets
    kept = sorted(set(places))[:MOST_PLACES]
    write_fact(connection, FACT, {"counts": counts, "places": kept})


def known(workspace: Workspace) -> Known:
    """What was found when the log was loaded, on `main`."""
    with workspace.file.reading() as connection:
        return _known(connection)


def of_connection(connection: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
    """How many there are, by kind."""
    return _known(connection).counts


def find(workspace: Workspace, limit: int | None = None) -> Iterator[Irregularity]:
    """All of them, in the order of the log; of a fork, those on the fork."""
    cut = "" if limit is None else f" LIMIT {int(limit)}"
    with workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset", stream, kind, before, found FROM ({_all("")})'
            f' ORDER BY "offset", kind{cut}'
        )
        while rows := found.fetchmany(_AT_ONCE):
            for row in rows:
                yield Irregularity(*row)


def _all(among: str) -> str:
    neighbours = _NEIGHBOURS.format(handled=HANDLED, among=among)
    return f"WITH neighbours AS ({neighbours}) {_IN_STREAMS} UNION ALL {_REPEATED}"


def _known(connection: duckdb.DuckDBPyConnection) -> Known:
    said: Any = read_fact(connection, FACT) or {}
    return Known(said.get("counts", {}), tuple(said.get("places", ())))
