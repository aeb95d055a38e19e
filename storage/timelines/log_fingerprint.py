"""Whether two logs are the same where it matters to a fork: hashes of stretches of their events.

A short log has a hash for each event, so the first event that differs can be named; a long one has a
hash for each of some thousand stretches.
"""

from dataclasses import dataclass

import duckdb

_STRETCHES = 1024
_DIGITS = 8
"""Of a stretch's hash, in hex."""

_HASHES = """
SELECT CAST("offset" // {width} AS BIGINT) AS stretch,
    bit_xor(md5_number_lower(concat_ws(chr(31), "offset", epoch_us(time), stream, revision, type,
        version, id, data, meta))) AS hashed
FROM {events} WHERE "offset" < {events_before} GROUP BY ALL ORDER BY stretch
"""


@dataclass(frozen=True)
class LogFingerprint:
    """What a log was, up to an event."""

    events: int
    width: int
    """Events of a stretch."""
    hashes: str
    """Of each stretch, one after the other."""


def take(connection: duckdb.DuckDBPyConnection, events: int) -> LogFingerprint:
    """The fingerprint of the first so many events of the log; reads them all."""
    width = max(1, -(-events // _STRETCHES))
    return LogFingerprint(events, width, _hashes(connection, events, width))


def difference(connection: duckdb.DuckDBPyConnection, before: LogFingerprint) -> str | None:
    """Where this log first differs from what another one was; None where it doesn't."""
    ((there,),) = connection.execute("SELECT count(*) FROM events").fetchall()
    if there < before.events:
        return f"it has {there:,} events, and there were {before.events:,}"
    now = _hashes(connection, before.events, before.width)
    for stretch in range(-(-before.events // before.width)):
        place = slice(stretch * _DIGITS, (stretch + 1) * _DIGITS)
        if before.hashes[place] != now[place]:
            first = stretch * before.width
            if before.width == 1:
                return f"the event at {first:,} is another one"
            return f"an event between {first:,} and {first + before.width - 1:,} is another one"
    return None


def _hashes(connection: duckdb.DuckDBPyConnection, events: int, width: int) -> str:
    query = _HASHES.format(width=int(width), events="events", events_before=int(events))
    found = connection.execute(query).fetchall()
    return "".join(format(int(hashed), "016x")[:_DIGITS] for _, hashed in found)
