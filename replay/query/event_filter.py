"""Filters of events: which events a person's words keep.

A condition may name paths in an event's data, as conditions on states do (`data.amount > 100`), or
be any SQL over the columns of `events`; other words are looked for in the events' text.
"""

import re

import duckdb

from replay.query import expressions
from replay.query.scope import Kind, Names
from storage.coordinates.offset_set import Offsets, offsets
from storage.db.query import arrow
from storage.errors import QueryError
from storage.log.event_log import EventLog
from storage.query import condition_parser
from storage.workspace.workspace import Workspace

OF_EVENTS = Names(
    {"data": "data", "meta": "meta"},
    {
        "offset": Kind.NUMBER,
        "type": Kind.TEXT,
        "stream": Kind.TEXT,
        "revision": Kind.NUMBER,
        "version": Kind.TEXT,
        "id": Kind.TEXT,
        "correlation_id": Kind.TEXT,
        "causation_id": Kind.TEXT,
    },
)
"""What a condition on an event may name, beside what SQL can."""

_CONDITION = re.compile(r"[=<>]|\b(like|ilike|in|is|between|not)\b|\(", re.IGNORECASE)


def kept_by(workspace: Workspace, text: str) -> "Offsets[int]":
    """All offsets that a filter keeps, ascending; scans.

    Raises `QueryError` for a condition that can't be asked.
    """
    if not _CONDITION.search(text):
        return EventLog(workspace).containing(text)
    return matching(workspace, text)


def matching(workspace: Workspace, condition: str) -> "Offsets[int]":
    """All offsets at which a condition on events holds, ascending; scans. Raises `QueryError`."""
    with workspace.reading() as connection:
        query = (
            f'SELECT "offset" FROM events WHERE {where(connection, condition)} ORDER BY "offset"'
        )
        try:
            return offsets(arrow(connection, query)["offset"].to_numpy().tobytes())
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            raise condition_parser.unanswerable(condition, "events", error) from error


def where(connection: duckdb.DuckDBPyConnection, condition: str) -> str:
    """SQL that may stand behind WHERE in a query of `events`. Raises `QueryError`."""
    try:
        wanted = expressions.condition(connection, condition, OF_EVENTS)
    except QueryError:
        return condition_parser.checked(connection, condition, "events")
    if not wanted.values:
        return f"({wanted.sql})"
    kept = f'SELECT "offset" FROM (SELECT *{wanted.values} FROM events) WHERE {wanted.sql}'
    return f'"offset" IN ({kept})'
