"""Fingerprints that tell whether two logs have the same events as far as a fork depends on them.

A short log has a hash for each event, which locates the first different event exactly; a long log has
a hash for each of about a thousand stretches.
"""

from dataclasses import dataclass

import duckdb

_MAX_STRETCHES = 1024
_HASH_DIGITS = 8
"""Hexadecimal digits of a stretch's hash."""

_HASH_QUERY = """
SELECT CAST("offset" // {width} AS BIGINT) AS stretch,
    bit_xor(md5_number_lower(concat_ws(chr(31), "offset", epoch_us(time), stream, revision, type,
        version, id, data, meta))) AS hashed
FROM {events} WHERE "offset" < {events_before} GROUP BY ALL ORDER BY stretch
"""


@dataclass(frozen=True)
class LogFingerprint:
    """The fingerprint of the first events of a log."""

    event_count: int
    events_per_hash: int
    """Number of events in a stretch."""
    hashes: str
    """The concatenated hashes of all stretches."""


def take_log_fingerprint(connection: duckdb.DuckDBPyConnection, event_count: int) -> LogFingerprint:
    """Return the fingerprint of the first `event_count` events of the log; reads all of them."""
    events_per_hash = max(1, -(-event_count // _MAX_STRETCHES))
    return LogFingerprint(
        event_count, events_per_hash, _hash_stretches(connection, event_count, events_per_hash)
    )


def describe_log_difference(
    connection: duckdb.DuckDBPyConnection, expected: LogFingerprint
) -> str | None:
    """Return a clause that says where this log first differs from the expected one, or None if it doesn't."""
    ((event_count,),) = connection.execute("SELECT count(*) FROM events").fetchall()
    if event_count < expected.event_count:
        return f"it has {event_count:,} events instead of at least {expected.event_count:,}"
    now = _hash_stretches(connection, expected.event_count, expected.events_per_hash)
    for stretch in range(-(-expected.event_count // expected.events_per_hash)):
        digits = slice(stretch * _HASH_DIGITS, (stretch + 1) * _HASH_DIGITS)
        if expected.hashes[digits] != now[digits]:
            first = stretch * expected.events_per_hash
            if expected.events_per_hash == 1:
                return f"the event at {first:,} is different"
            return f"an event between {first:,} and {first + expected.events_per_hash - 1:,} is different"
    return None


def _hash_stretches(
    connection: duckdb.DuckDBPyConnection, event_count: int, events_per_hash: int
) -> str:
    query = _HASH_QUERY.format(
        width=int(events_per_hash), events="events", events_before=int(event_count)
    )
    found = connection.execute(query).fetchall()
    return "".join(format(int(hashed), "016x")[:_HASH_DIGITS] for _, hashed in found)
