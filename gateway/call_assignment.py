"""Assigns imported calls to the events that caused them.

A call goes to the event that it names, else to an event with its correlation id, else to the last event
before the call. Calls that match no event stay unassigned; a person assigns them by hand.
"""

from datetime import timedelta

import duckdb

from gateway import recording_store
from storage.workspace.workspace import Workspace


def assign_from_content(
    connection: duckdb.DuckDBPyConnection, first_call: int, window: timedelta
) -> int:
    """Assign imported calls, from the number `first_call` on, to the events that caused them.

    Return how many were assigned. Without a matching id, a call goes to the last event at most `window`
    before it.
    """
    named = (
        'e."offset" = c.named_offset AND c.event_id IS NULL',
        "e.id = c.event_id",
        "e.correlation_id = c.correlation_id",
        "e.id = c.correlation_id",
    )
    # If several events match, take the last one that had happened at the time of the call.
    chosen = (
        "QUALIFY row_number() OVER (PARTITION BY c.call ORDER BY c.time IS NOT NULL AND e.time > c.time,"
        ' CASE WHEN c.time IS NULL THEN e."offset" ELSE -e."offset" END) = 1'
    )
    queries = [
        f'SELECT c.call, e."offset", e.id FROM unassigned AS c JOIN events AS e ON {condition} {chosen}'
        for condition in named
    ]
    queries.append(
        'SELECT c.call, e."offset", e.id FROM (SELECT * FROM unassigned WHERE named_offset IS NULL AND event_id'
        ' IS NULL AND time IS NOT NULL) AS c ASOF JOIN (SELECT time, max("offset") AS "offset",'
        ' arg_max(id, "offset") AS id FROM events WHERE time IS NOT NULL GROUP BY time) AS e'
        f" ON c.time >= e.time WHERE c.time - e.time <= INTERVAL {int(window.total_seconds())} SECOND"
    )
    connection.execute(
        'CREATE TEMP TABLE unassigned AS SELECT call, "offset" AS named_offset, event_id, correlation_id, time'
        " FROM calls WHERE call >= ?",
        [first_call],
    )
    connection.execute('UPDATE calls SET "offset" = NULL WHERE call >= ?', [first_call])
    for query in queries:
        connection.execute(f"CREATE TEMP TABLE assigned AS {query}")
        _apply_assignments(connection)
        connection.execute("DELETE FROM unassigned WHERE call IN (SELECT call FROM assigned)")
        connection.execute("DROP TABLE assigned")
    connection.execute("DROP TABLE unassigned")
    _number_calls_of_events(connection)
    ((assigned_count,),) = connection.execute(
        'SELECT count(*) FROM calls WHERE call >= ? AND "offset" IS NOT NULL', [first_call]
    ).fetchall()
    return int(assigned_count)


def assign_manually(workspace: Workspace, call_number: int, offset: int) -> bool:
    """Assign a call to the event at an offset; return False if there is no call of that number."""
    with workspace.writing() as connection:
        known = "SELECT 1 FROM calls WHERE call = ?"
        if not connection.execute(known, [call_number]).fetchall():
            return False
        connection.execute(
            'CREATE TEMP TABLE assigned AS SELECT CAST(? AS BIGINT) AS call, "offset", id FROM events'
            ' WHERE "offset" = ?',
            [call_number, offset],
        )
        _apply_assignments(connection)
        connection.execute("DROP TABLE assigned")
        _number_calls_of_events(connection)
        return True


def _apply_assignments(connection: duckdb.DuckDBPyConnection) -> None:
    """Copy the assignments in the table `assigned` (`call`, `offset`, `id` of the event) to the calls."""
    connection.execute(
        'UPDATE calls SET "offset" = a."offset", event_id = coalesce(a.id, event_id)'
        " FROM assigned AS a WHERE calls.call = a.call"
    )
    recording_store.increment_version(connection)


def _number_calls_of_events(connection: duckdb.DuckDBPyConnection) -> None:
    """Number the imported calls of each event in the order of their times."""
    connection.execute(
        "UPDATE calls SET ordinal = n.place, occurrence = n.again FROM (SELECT call,"
        ' row_number() OVER (PARTITION BY "offset" ORDER BY time, call) - 1 AS place,'
        ' row_number() OVER (PARTITION BY "offset", key, fingerprint ORDER BY time, call) - 1 AS again'
        ' FROM calls WHERE projection IS NULL AND "offset" IS NOT NULL) AS n WHERE calls.call = n.call'
    )
