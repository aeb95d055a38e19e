"""Documents on their way back to a worker that has not met them: their states, or all their events.

A state that is plain comes back from its JSON; any other is made again from the document's own
events, which are those of its stream, or those that `routes` says reached it.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from replay import batches
from storage.connections import arrow
from storage.workspace import Workspace

Parts = tuple[dict[str, Any], tuple[Any, ...]]
"""The header and the parts of a frame."""


def states(
    workspace: Workspace, number: int, timeline: str, keys: Sequence[str], *, before: int
) -> Parts:
    """What these documents of a projection were before an offset, as a frame of `documents`."""
    with workspace.reading() as connection:
        want(connection, keys)
        latest = arrow(
            connection,
            "SELECT key, change, state FROM history SEMI JOIN wanted USING (key)"
            ' WHERE projection = ? AND timeline = ? AND "offset" < ? QUALIFY row_number() OVER'
            " (PARTITION BY key ORDER BY change DESC) = 1",
            [number, timeline, before],
        ).combine_chunks()
    texts = latest["state"].combine_chunks() if latest.num_rows else pa.array([], pa.string())
    lengths = pc.fill_null(pc.binary_length(texts), -1).cast(pa.int32())
    text = "".join(s for s in texts.to_pylist() if s is not None).encode()
    changes = dict(zip(latest["key"].to_pylist(), latest["change"].to_pylist(), strict=True))
    return {"kind": "documents", "changes": changes}, (
        lengths.to_numpy(zero_copy_only=False).tobytes(),
        text,
    )


def events(
    workspace: Workspace,
    number: int,
    timeline: str,
    keys: Sequence[str],
    *,
    before: int,
    routed: bool,
) -> Parts:
    """All events before an offset that reached these documents, as a frame of `events`."""
    with workspace.reading() as connection:
        want(connection, keys)
        own = arrow(
            connection,
            f'SELECT {batches.SELECT} FROM events WHERE "offset" IN ({reached(routed=routed)})'
            ' AND "offset" < $before ORDER BY "offset"',
            {"projection": number, "timeline": timeline, "before": before},
        )
        last = connection.execute(
            "SELECT key, max(change) FROM history SEMI JOIN wanted USING (key)"
            ' WHERE projection = ? AND timeline = ? AND "offset" < ? GROUP BY key',
            [number, timeline, before],
        ).fetchall()
    header, parts = batches.frame(own)
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
