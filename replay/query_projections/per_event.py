"""The states over a stretch of the log, by asking a relation after every one of its events.

Nothing is known of which documents an event concerns, so all of them are compared each time.
"""

import time
from collections.abc import Callable

import pyarrow as pa

from replay.query_projections.evaluation import NOW, Asking
from storage.db.query import arrow
from storage.errors import ProjectionError

_BEFORE = "documents_before"


def base(ask: Asking, position: int) -> pa.Table:
    """All documents of a position, as if they had become what they are with its event."""
    ask.at(position)
    return _found(ask, position, f"SELECT key, state FROM {NOW}")


def stretch(
    ask: Asking, first: int, last: int, seconds: float, check: Callable[[int], None]
) -> tuple[pa.Table, int]:
    """States that events changed: `key`, `offset`, `state`; and the first offset not looked at.

    It ends after so many seconds, or before an event at which the relation can't be asked; raises
    `ProjectionError` where that is the first. `check` is told of every event, and may raise.
    """
    began = time.monotonic()
    found: list[pa.Table] = []
    if first > 0:
        ask.at(first - 1)
    for offset in range(first, last + 1):
        before = None if offset == 0 else _BEFORE
        if before:
            ask.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_BEFORE} AS FROM {NOW}")
        try:
            ask.at(offset)
        except ProjectionError:
            if offset == first:
                raise
            return pa.concat_tables(found), offset
        found.append(_found(ask, offset, _changed(before)))
        check(offset)
        if time.monotonic() - began > seconds:
            return pa.concat_tables(found), offset + 1
    return pa.concat_tables(found), last + 1


def _changed(before: str | None) -> str:
    if before is None:
        return f"SELECT key, state FROM {NOW}"
    return (
        f"SELECT coalesce(n.key, b.key) AS key, n.state AS state FROM {NOW} AS n"
        f" FULL JOIN {before} AS b ON b.key = n.key WHERE n.state IS DISTINCT FROM b.state"
    )


def _found(ask: Asking, offset: int, query: str) -> pa.Table:
    at = f'CAST({offset} AS BIGINT) AS "offset"'
    return arrow(ask.connection, f"SELECT key, {at}, state FROM ({query})")
