"""Whether two logs are the same where it matters to a fork: hashes of stretches of their events.

A short log has a hash for each event, so the first event that differs can be named; a long one has a
hash for each of some thousand stretches.
"""

from dataclasses import dataclass

import duckdb

_MAX_STRETCHES = 1024
_HASH_DIGITS = 8
"""Of a stretch's hash, in hex."""

_HASH_QUERY = """
SELECT CAST("offset" // {width} AS BIGINT) AS stretch,
    bit_xor(md5_number_lower(concat_ws(chr(31), "offset", epoch_us(time), stream, revision, type,
        version, id, data, meta))) AS hashed
FROM {events} WHERE "offset" < {events_before} GROUP BY ALL ORDER BY stretch
"""


@dataclass(frozen=True)
class LogFingerprint:
    """What a log was, up to an event."""

    event_count: int
    events_per_hash: int
    """Events of a stretch."""
    hashes: str
    """Of each stretch, one after the other."""


def take_log_fingerprint(connection: duckdb.DuckDBPyConnection, event_count: int) -> LogFingerprint:
    """The fingerprint of the first so many events of the log; reads them all."""
    events_per_hash = max(1, -(-event_count // _MAX_STRETCHES))
    return LogFingerprint(
        event_count, events_per_hash, _hash_stretches(connection, event_count, events_per_hash)
    )


def describe_log_difference(
    connection: duckdb.DuckDBPyConnection, expected: LogFingerprint
) -> str | None:
    """Where this log first differs from what another one was; None where it doesn't."""
    ((event_count,),) = connection.execute("SELECT count(*) FROM events").fetchall()
    if event_count < expected.event_count:
        return f"it has {event_count:,} events, and there were {expected.event_count:,}"
    now = _hash_stretches(connection, expected.event_count, expected.events_per_hash)
    for stretch in range(-(-expected.event_count // expected.events_per_hash)):
        digits = slice(stretch * _HASH_DIGITS, (stretch + 1) * _HASH_DIGITS)
        if expected.hashes[digits] != now[digits]:
            first = stretch * expected.events_per_hash
            if expected.events_per_hash == 1:
                return f"the event at {first:,} is another one"
            return f"an event between {first:,} and {first + expected.events_per_hash - 1:,} is another one"
    return None


def _hash_stretches(
    connection: duckdb.DuckDBPyConnection, event_count: int, events_per_hash: int
) -> str:
    query = _HASH_QUERY.format(
        width=int(events_per_hash), events="events", events_before=int(event_count)
    )
    found = connection.execute(query).fetchall()
    return "".join(format(int(hashed), "016x")[:_HASH_DIGITS] for _, hashed in found)
