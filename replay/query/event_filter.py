"""Event filters: which events match a text that a person typed.

A condition can name paths in an event's data, as conditions on states do (`data.amount > 100`), or be
any SQL over the columns of `events`. Any other text is searched for in the text of the events.
"""

import re

import duckdb

from replay.query import expressions
from replay.query.scope import ExpressionScope, TermKind
from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.db.query import fetch_arrow
from storage.errors import QueryError
from storage.log.event_log import EventLog
from storage.query import condition_parser
from storage.workspace.workspace import Workspace

EVENT_SCOPE = ExpressionScope(
    {"data": "data", "meta": "meta"},
    {
        "offset": TermKind.NUMBER,
        "type": TermKind.TEXT,
        "stream": TermKind.TEXT,
        "revision": TermKind.NUMBER,
        "version": TermKind.TEXT,
        "id": TermKind.TEXT,
        "correlation_id": TermKind.TEXT,
        "causation_id": TermKind.TEXT,
    },
)
"""The names that a condition on an event can use, in addition to those of SQL."""

_LOOKS_LIKE_CONDITION = re.compile(r"[=<>]|\b(like|ilike|in|is|between|not)\b|\(", re.IGNORECASE)


def find_offsets(workspace: Workspace, text: str) -> "Offsets[int]":
    """Return all offsets of events that match a filter, ascending. Scans the events.

    Raises `QueryError` if the text is an invalid condition.
    """
    if not _LOOKS_LIKE_CONDITION.search(text):
        return EventLog(workspace).find_containing(text)
    return find_offsets_by_condition(workspace, text)


def find_offsets_by_condition(workspace: Workspace, condition: str) -> "Offsets[int]":
    """Return all offsets of events for which a condition holds, ascending. Scans the events.

    Raises `QueryError` if the condition is invalid.
    """
    with workspace.reading() as connection:
        query = f'SELECT "offset" FROM events WHERE {compile_where(connection, condition)} ORDER BY "offset"'
        try:
            return pack_offsets(fetch_arrow(connection, query)["offset"].to_numpy().tobytes())
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            raise condition_parser.translate_condition_error(condition, "events", error) from error


def compile_where(connection: duckdb.DuckDBPyConnection, condition: str) -> str:
    """Return SQL for the WHERE clause of a query of `events`.

    Raises `QueryError` if the condition is invalid.
    """
    parsed = expressions.parse_expression(connection, condition)
    try:
        expression = expressions.compile_condition(connection, parsed, EVENT_SCOPE)
    except QueryError:
        return condition_parser.check_parsed_condition(connection, condition, parsed.tree, "events")
    if not expression.columns_sql:
        return f"({expression.sql})"
    matching = f'SELECT "offset" FROM (SELECT *{expression.columns_sql} FROM events) WHERE {expression.sql}'
    return f'"offset" IN ({matching})'
