"""Logpoints: expressions evaluated at every matching event, as if the code had always logged them.

At each event an expression can use the document after the event (`state`), the document before it
(`before`), and the event itself: `data`, `meta` and its columns. The values come from the history;
no code runs again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from replay.history.history import History
from replay.query import event_filter, expressions, part_projection
from replay.query.compiled_expression import CompiledExpression
from replay.query.event_filter import EVENT_SCOPE
from replay.query.scope import ExpressionScope, TermKind
from storage.db.query import fetch_arrow
from storage.query.condition_parser import translate_condition_error
from storage.quoting import quote_literal

LOGPOINT_SCOPE = ExpressionScope(
    {"state": "state", "before": "before", **EVENT_SCOPE.json_columns},
    {"key": TermKind.TEXT, "time": TermKind.TEXT, **EVENT_SCOPE.plain_columns},
)
"""The names that a logpoint's expression can use."""

_TIME_SQL = "strftime(make_timestamp(epoch_us(e.time)), '%Y-%m-%dT%H:%M:%S.%fZ')"
"""ISO 8601 in UTC, so that times are compared as texts."""
_ROW_COLUMNS = (
    *LOGPOINT_SCOPE.json_columns.values(),
    *(f'"{name}"' for name in LOGPOINT_SCOPE.plain_columns),
)


@dataclass(frozen=True)
class LogpointRows:
    """The output of a logpoint: one row for each document that an event was routed to."""

    expressions: Sequence[str]
    rows: pa.Table
    """`offset`, `key`, and `e0`, `e1` …: the values as JSON text, NULL if there is none."""


def evaluate_logpoints(
    history: History,
    expression_texts: Sequence[str],
    where: Sequence[str] = (),
    limit: int | None = None,
    *,
    when: str | None = None,
) -> LogpointRows:
    """Evaluate expressions at the events that meet all `where` conditions, in the order of the log.

    `limit` bounds the number of events. `when` is a condition that filters the rows; it can use the
    same names as the expressions. Scans the events and the histories of the documents that they are
    routed to. Raises `QueryError` if a text is invalid or can't be evaluated.
    """
    fold_record = history.fold_record
    with history.workspace.reading() as connection:
        event_condition = (
            " AND ".join(event_filter.compile_where(connection, w) for w in where) or "true"
        )
        compiled = [
            expressions.compile_value(connection, text, LOGPOINT_SCOPE) for text in expression_texts
        ]
        when_condition = (
            None
            if when is None
            else expressions.compile_condition(connection, when, LOGPOINT_SCOPE)
        )
        all_compiled = compiled if when_condition is None else [*compiled, when_condition]
        kept_states = part_projection.states_with_parts_sql(history, all_compiled)
        targets = (
            f'SELECT "offset", key FROM routes WHERE {history.scope.condition}'
            if history.is_routed
            else 'SELECT "offset", stream AS key FROM kept WHERE stream IS NOT NULL'
        )
        changes = (
            f'SELECT key, "offset", change FROM history WHERE {history.scope.condition}'
            " AND key IN (SELECT key FROM reached)"
        )
        states = f"SELECT change, state FROM {kept_states} WHERE {history.scope.condition}"
        query = (
            f"WITH kept AS MATERIALIZED (SELECT * FROM events WHERE {event_condition}"
            ' AND "offset" >= $first AND "offset" < $end),'
            f' reached AS MATERIALIZED (FROM ({targets}) SEMI JOIN kept USING ("offset")),'
            f" changes AS MATERIALIZED ({changes}),"
            f" rows AS (SELECT e.* REPLACE ({_TIME_SQL} AS time), r.key, s.state, b.state AS"
            " before FROM kept AS e"
            ' JOIN reached AS r ON r."offset" = e."offset"'
            ' ASOF LEFT JOIN changes AS n ON n.key = r.key AND r."offset" >= n."offset"'
            ' ASOF LEFT JOIN changes AS p ON p.key = r.key AND r."offset" > p."offset"'
            f" LEFT JOIN ({states}) AS s ON s.change = n.change"
            f" LEFT JOIN ({states}) AS b ON b.change = p.change)"
            f' SELECT "offset", key{_value_columns_sql(compiled, when_condition)} ORDER BY "offset", key'
        )

        def ask(first: int, end: int) -> pa.Table:
            return fetch_arrow(connection, query, {"first": first, "end": end})

        try:
            end = (
                fold_record.next_offset
                if limit is None
                else _end_of_first_events(
                    connection, event_condition, fold_record.next_offset, limit
                )
            )
            return LogpointRows(
                tuple(expression_texts),
                pa.concat_tables(_ask_in_halves(ask, 0, end)).combine_chunks(),
            )
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            raise translate_condition_error(", ".join(expression_texts), "events", error) from error


def _end_of_first_events(
    connection: duckdb.DuckDBPyConnection, event_condition: str, next_offset: int, limit: int
) -> int:
    """Return the offset after the first `limit` events that meet the condition."""
    first = f'SELECT "offset" FROM events WHERE {event_condition} AND "offset" < {int(next_offset)}'
    ((last,),) = connection.execute(
        f'SELECT max("offset") FROM ({first} ORDER BY "offset" LIMIT {int(limit)})'
    ).fetchall()
    return 0 if last is None else int(last) + 1


def _ask_in_halves(ask: Callable[[int, int], pa.Table], first: int, end: int) -> list[pa.Table]:
    """Return the answers for a stretch of the log, halving it while it needs too much memory."""
    try:
        return [ask(first, end)]
    except duckdb.OutOfMemoryException:
        middle = (first + end) // 2
        if middle == first:
            raise
        return [*_ask_in_halves(ask, first, middle), *_ask_in_halves(ask, middle, end)]


def build_type_condition(type_name: str) -> str:
    """Return the condition that events of a type meet."""
    return f"type = {quote_literal(type_name)}"


def _value_columns_sql(
    compiled: Sequence[CompiledExpression], when_condition: CompiledExpression | None
) -> str:
    """Return SQL for the columns `e0`, `e1` … from `rows`.

    Each expression's columns are computed in a subquery of their own.
    """
    source, kept = "rows", list(_ROW_COLUMNS)
    if when_condition is not None:
        source = (
            f"(SELECT {', '.join(kept)} FROM (SELECT *{when_condition.columns_sql} FROM rows)"
            f" WHERE {when_condition.sql})"
        )
    for number, one in enumerate(compiled):
        below = f"(SELECT *{one.columns_sql} FROM {source})"
        source = f"(SELECT {', '.join(kept)}, {one.sql} AS e{number} FROM {below})"
        kept.append(f"e{number}")
    return "".join(f", e{number}" for number in range(len(compiled))) + f" FROM {source}"
