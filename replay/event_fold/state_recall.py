"""Documents on their way back to a worker that has not met them: their states, or all their events.

A state that is plain comes back from its JSON; any other is made again from the document's own
events, which are those of its stream, or those that `routes` says reached it.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from replay.history.history import bucket
from replay.worker_host import event_frame
from storage.db.query import arrow
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

_FEW = 1_000
"""Keys whose buckets are written into a query, which so finds them by zone maps."""
Parts = tuple[dict[str, Any], tuple[Any, ...]]
"""The header and the parts of a frame."""


def states(workspace: Workspace, number: int, keys: Sequence[str], *, before: int) -> Parts:
    """What these documents of a projection were before an offset, as a frame of `documents`."""
    timeline = workspace.timeline
    with workspace.reading() as connection:
        want(connection, keys)
        latest = arrow(
            connection,
            "SELECT key, change, state, in_parts FROM history SEMI JOIN wanted USING (key)"
            ' WHERE projection = ? AND timeline = ? AND "offset" < ? QUALIFY row_number() OVER'
            " (PARTITION BY key ORDER BY change DESC) = 1",
            [number, timeline, before],
        )
        whole = latest.filter(pc.invert(latest["in_parts"]))
        large = latest.filter(latest["in_parts"]).select(["key", "change"]).to_pylist()
        of_parts = [_parts(connection, number, timeline, row["key"], before) for row in large]
    in_parts = [{**row, **said} for row, (said, _) in zip(large, of_parts, strict=True)]
    changes = dict(zip(whole["key"].to_pylist(), whole["change"].to_pylist(), strict=True))
    header = {"kind": "documents", "changes": changes, "in_parts": in_parts}
    return header, (*_joined(whole["state"]), *(blob for _, both in of_parts for blob in both))


def _parts(
    connection: duckdb.DuckDBPyConnection, number: int, timeline: str, key: str, before: int
) -> Parts:
    """A large document before an offset: paths, places, the number of its next member; and texts."""
    mine = f"(h.projection = $number) AND (h.timeline = $timeline) AND (h.bucket = {bucket(key)})"
    rows = f'({mine} AND (h.key = $key) AND (h."offset" < $before))'
    parameters = {"number": number, "timeline": timeline, "key": key, "before": before}
    found = arrow(
        connection,
        f"SELECT part, place, state FROM ({document_parts.alive(rows)}) ORDER BY place",
        parameters,
    )
    last = connection.execute(
        f"SELECT max(h.place[-1]) FROM parts AS h WHERE {rows}", parameters
    ).fetchall()
    said = {
        "paths": found["part"].to_pylist(),
        "places": found["place"].to_pylist(),
        "following": (last[0][0] or 0) + 1,
    }
    return said, _joined(found["state"])


def _joined(column: pa.ChunkedArray) -> tuple[bytes, bytes]:
    """The lengths of texts, -1 for NULL, and the texts one after the other."""
    lengths = pc.fill_null(pc.binary_length(column), -1).cast(pa.int32())
    texts = "".join(text for text in column.to_pylist() if text is not None)
    return lengths.to_numpy().tobytes(), texts.encode()


def events(
    workspace: Workspace,
    number: int,
    keys: Sequence[str],
    *,
    before: int,
    routed: bool,
) -> Parts:
    """All events before an offset that reached these documents, as a frame of `events`."""
    timeline = workspace.timeline
    with workspace.reading() as connection:
        want(connection, keys)
        own = arrow(
            connection,
            f'SELECT {event_frame.SELECT} FROM events WHERE "offset" IN ({reached(routed=routed)})'
            ' AND "offset" < $before ORDER BY "offset"',
            {"projection": number, "timeline": timeline, "before": before},
        )
    return given_events(workspace, number, keys, own, before=before)


def given_events(
    workspace: Workspace, number: int, keys: Sequence[str], own: pa.Table, *, before: int
) -> Parts:
    """The same where the events are known already."""
    with workspace.reading() as connection:
        want(connection, keys)
        buckets = ", ".join(str(bucket(key)) for key in keys[:_FEW])
        near = f" AND bucket IN ({buckets})" if len(keys) <= _FEW else ""
        last = connection.execute(
            "SELECT key, max(change) FROM history SEMI JOIN wanted USING (key)"
            f' WHERE projection = ? AND timeline = ? AND "offset" < ?{near} GROUP BY key',
            [number, workspace.timeline, before],
        ).fetchall()
    header, parts = event_frame.frame(own)
    return {**header, "kind": "events", "changes": dict(last)}, parts


def reached(*, routed: bool) -> str:
    """SQL for the offsets of all events that reached the keys of a table called `wanted`."""
    if routed:
        return (
            'SELECT "offset" FROM routes SEMI JOIN wanted USING (key)'
            " WHERE projection = $projection AND timeline = $timeline"
        )
    return (
        'SELECT "offset" FROM events SEMI JOIN wanted ON stream = key'
        " WHERE $projection IS NOT NULL AND $timeline IS NOT NULL"
    )


def want(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> None:
    """Make the keys a table called `wanted`, which ends with the cursor."""
    connection.register("wanted", pa.table({"key": pa.array(keys, pa.string())}))
