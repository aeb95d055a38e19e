"""Logpoints: expressions evaluated at every event of a kind, as if they had always been there.

At each event they see the document as the event left it (`state`), as it was (`before`), and the
event itself: `data`, `meta`, and its columns. Nothing is run again; the history is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from replay.history.history import History
from replay.query import event_filter, expressions, part_projection
from replay.query.event_filter import OF_EVENTS
from replay.query.scope import Kind, Names
from replay.query.sql_compiler import Expression
from storage.db.query import arrow
from storage.query.condition_parser import unanswerable
from storage.quoting import quoted

NAMES = Names(
    {"state": "state", "before": "before", **OF_EVENTS.values},
    {"key": Kind.TEXT, "time": Kind.TEXT, **OF_EVENTS.columns},
)
"""What a logpoint's expression may name."""

_TIME = "strftime(make_timestamp(epoch_us(e.time)), '%Y-%m-%dT%H:%M:%S.%fZ')"
"""ISO 8601 in UTC, so that times are compared as texts."""
_ROW = (*NAMES.values.values(), *(f'"{name}"' for name in NAMES.columns))


@dataclass(frozen=True)
class Logged:
    """What a logpoint wrote: a row for each document that an event was for."""

    expressions: Sequence[str]
    rows: pa.Table
    """`offset`, `key`, and `e0`, `e1` …: the values as JSON text, NULL where there is none."""


def logged(
    history: History,
    texts: Sequence[str],
    where: Sequence[str] = (),
    limit: int | None = None,
    *,
    when: str | None = None,
) -> Logged:
    """Evaluate expressions at the events that all conditions keep, in the order of the log.

    `when` keeps only the rows for which it holds; it may name what the expressions may.

    Scans the events, and the histories of the documents that they are for. Raises `QueryError`.
    """
    folded = history.folded
    with history.workspace.reading() as connection:
        kept = " AND ".join(event_filter.where(connection, w) for w in where) or "true"
        wanted = [expressions.value(connection, text, NAMES) for text in texts]
        only = None if when is None else expressions.condition(connection, when, NAMES)
        asked = wanted if only is None else [*wanted, only]
        kept_states = part_projection.states(connection, history, asked)
        targets = (
            'SELECT "offset", key FROM routes WHERE projection = $projection'
            " AND timeline = $timeline"
            if history.routed
            else 'SELECT "offset", stream AS key FROM kept WHERE stream IS NOT NULL'
        )
        changes = (
            'SELECT key, "offset", change FROM history WHERE projection = $projection'
            " AND timeline = $timeline AND key IN (SELECT key FROM reached)"
        )
        states = (
            f"SELECT change, state FROM {kept_states} WHERE projection = $projection"
            " AND timeline = $timeline"
        )
        query = (
            f"WITH kept AS MATERIALIZED (SELECT * FROM events WHERE {kept}"
            ' AND "offset" >= $first AND "offset" < $end),'
            f' reached AS MATERIALIZED (FROM ({targets}) SEMI JOIN kept USING ("offset")),'
            f" changes AS MATERIALIZED ({changes}),"
            f" rows AS (SELECT e.* REPLACE ({_TIME} AS time), r.key, s.state, b.state AS before FROM kept AS e"
            ' JOIN reached AS r ON r."offset" = e."offset"'
            ' ASOF LEFT JOIN changes AS n ON n.key = r.key AND r."offset" >= n."offset"'
            ' ASOF LEFT JOIN changes AS p ON p.key = r.key AND r."offset" > p."offset"'
            f" LEFT JOIN ({states}) AS s ON s.change = n.change"
            f" LEFT JOIN ({states}) AS b ON b.change = p.change)"
            f' SELECT "offset", key{_values(wanted, only)} ORDER BY "offset", key'
        )
        mine = {"projection": folded.number, "timeline": folded.timeline}

        def ask(first: int, end: int) -> pa.Table:
            return arrow(connection, query, {**mine, "first": first, "end": end})

        try:
            end = folded.folded if limit is None else _end(connection, kept, folded.folded, limit)
            return Logged(tuple(texts), pa.concat_tables(_asked(ask, 0, end)).combine_chunks())
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            raise unanswerable(", ".join(texts), "events", error) from error


def _end(connection: duckdb.DuckDBPyConnection, kept: str, folded: int, limit: int) -> int:
    """Where the first so many of the events that are kept end."""
    first = f'SELECT "offset" FROM events WHERE {kept} AND "offset" < {int(folded)}'
    ((last,),) = connection.execute(
        f'SELECT max("offset") FROM ({first} ORDER BY "offset" LIMIT {int(limit)})'
    ).fetchall()
    return 0 if last is None else int(last) + 1


def _asked(ask: Callable[[int, int], pa.Table], first: int, end: int) -> list[pa.Table]:
    """The answers for a stretch of the log, which is halved while it takes too much memory."""
    try:
        return [ask(first, end)]
    except duckdb.OutOfMemoryException:
        middle = (first + end) // 2
        if middle == first:
            raise
        return [*_asked(ask, first, middle), *_asked(ask, middle, end)]


def at_type(kind: str) -> str:
    """The condition that keeps the events of a type."""
    return f"type = {quoted(kind)}"


def _values(wanted: Sequence[Expression], only: Expression | None) -> str:
    """Columns `e0`, `e1` … out of `rows`; each expression's own values are in a projection below."""
    source, kept = "rows", list(_ROW)
    if only is not None:
        source = (
            f"(SELECT {', '.join(kept)} FROM (SELECT *{only.values} FROM rows) WHERE {only.sql})"
        )
    for number, one in enumerate(wanted):
        below = f"(SELECT *{one.values} FROM {source})"
        source = f"(SELECT {', '.join(kept)}, {one.sql} AS e{number} FROM {below})"
        kept.append(f"e{number}")
    return "".join(f", e{number}" for number in range(len(wanted))) + f" FROM {source}"
