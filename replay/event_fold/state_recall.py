"""Sends documents back to a worker that doesn't hold them, as their states or as all their events.

A state that survives JSON is restored from its JSON. Every other state is folded again from the
document's events: those of its stream, or those that `routes` lists for it.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from replay.history.history import compute_bucket
from replay.worker_host import event_frame
from storage.db.query import fetch_arrow
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

_FEW_KEYS = 1_000
"""Up to this many keys, the query lists their buckets, so DuckDB skips rows by zone maps."""
DocumentFrame = tuple[dict[str, Any], tuple[Any, ...]]
"""The header and the parts of a protocol frame."""


def recall_states(
    workspace: Workspace, projection_number: int, keys: Sequence[str], *, before_offset: int
) -> DocumentFrame:
    """Return the states of these documents before an offset, as a frame of kind `documents`."""
    timeline = workspace.timeline
    with workspace.reading() as connection:
        register_wanted_keys(connection, keys)
        latest = fetch_arrow(
            connection,
            "SELECT key, change, state, in_parts FROM history SEMI JOIN wanted USING (key)"
            ' WHERE projection = ? AND timeline = ? AND "offset" < ? QUALIFY row_number() OVER'
            " (PARTITION BY key ORDER BY change DESC) = 1",
            [projection_number, timeline, before_offset],
        )
        whole = latest.filter(pc.invert(latest["in_parts"]))
        large = latest.filter(latest["in_parts"]).select(["key", "change"]).to_pylist()
        large_documents = [
            _recall_large_document(
                connection, projection_number, timeline, row["key"], before_offset
            )
            for row in large
        ]
    in_parts = [
        {**row, **large_fields}
        for row, (large_fields, _) in zip(large, large_documents, strict=True)
    ]
    changes = dict(zip(whole["key"].to_pylist(), whole["change"].to_pylist(), strict=True))
    header = {"kind": "documents", "changes": changes, "in_parts": in_parts}
    return header, (
        *_pack_texts(whole["state"]),
        *(blob for _, both in large_documents for blob in both),
    )


def _recall_large_document(
    connection: duckdb.DuckDBPyConnection,
    projection_number: int,
    timeline: str,
    key: str,
    before_offset: int,
) -> DocumentFrame:
    """Return a large document before an offset: the paths and places of its parts and the number of
    its next member in the header, and the packed texts of the parts."""
    fold_condition = (
        "(h.projection = $number) AND (h.timeline = $timeline)"
        f" AND (h.bucket = {compute_bucket(key)})"
    )
    rows = f'({fold_condition} AND (h.key = $key) AND (h."offset" < $before))'
    parameters = {
        "number": projection_number,
        "timeline": timeline,
        "key": key,
        "before": before_offset,
    }
    found = fetch_arrow(
        connection,
        f"SELECT part, place, state FROM ({document_parts.live_parts_sql(rows)}) ORDER BY place",
        parameters,
    )
    last = connection.execute(
        f"SELECT max(h.place[-1]) FROM parts AS h WHERE {rows}", parameters
    ).fetchall()
    large_fields = {
        "paths": found["part"].to_pylist(),
        "places": found["place"].to_pylist(),
        "following": (last[0][0] or 0) + 1,
    }
    return large_fields, _pack_texts(found["state"])


def _pack_texts(column: pa.ChunkedArray) -> tuple[bytes, bytes]:
    """Return the lengths of the texts as 32-bit integers (-1 for NULL), and the joined texts."""
    lengths = pc.fill_null(pc.binary_length(column), -1).cast(pa.int32())
    texts = "".join(text for text in column.to_pylist() if text is not None)
    return lengths.to_numpy().tobytes(), texts.encode()


def recall_events(
    workspace: Workspace,
    projection_number: int,
    keys: Sequence[str],
    *,
    before_offset: int,
    is_routed: bool,
) -> DocumentFrame:
    """Return all events before an offset that reached these documents, as a frame of kind `events`."""
    timeline = workspace.timeline
    with workspace.reading() as connection:
        register_wanted_keys(connection, keys)
        document_events = fetch_arrow(
            connection,
            f'SELECT {event_frame.SELECT_COLUMNS} FROM events WHERE "offset" IN'
            f" ({reached_offsets_sql(is_routed=is_routed)})"
            ' AND "offset" < $before ORDER BY "offset"',
            {"projection": projection_number, "timeline": timeline, "before": before_offset},
        )
    return recall_given_events(
        workspace, projection_number, keys, document_events, before_offset=before_offset
    )


def recall_given_events(
    workspace: Workspace,
    projection_number: int,
    keys: Sequence[str],
    document_events: pa.Table,
    *,
    before_offset: int,
) -> DocumentFrame:
    """Return the frame of `recall_events` for events that the caller has loaded already."""
    with workspace.reading() as connection:
        register_wanted_keys(connection, keys)
        buckets = ", ".join(str(compute_bucket(key)) for key in keys[:_FEW_KEYS])
        near = f" AND bucket IN ({buckets})" if len(keys) <= _FEW_KEYS else ""
        last = connection.execute(
            "SELECT key, max(change) FROM history SEMI JOIN wanted USING (key)"
            f' WHERE projection = ? AND timeline = ? AND "offset" < ?{near} GROUP BY key',
            [projection_number, workspace.timeline, before_offset],
        ).fetchall()
    header, parts = event_frame.build_event_frame(document_events)
    return {**header, "kind": "events", "changes": dict(last)}, parts


def reached_offsets_sql(*, is_routed: bool) -> str:
    """Return SQL for the offsets of all events that reached the keys in the table `wanted`."""
    if is_routed:
        return (
            'SELECT "offset" FROM routes SEMI JOIN wanted USING (key)'
            " WHERE projection = $projection AND timeline = $timeline"
        )
    return (
        'SELECT "offset" FROM events SEMI JOIN wanted ON stream = key'
        " WHERE $projection IS NOT NULL AND $timeline IS NOT NULL"
    )


def register_wanted_keys(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> None:
    """Register the keys as a table `wanted`, which lasts as long as the cursor."""
    connection.register("wanted", pa.table({"key": pa.array(keys, pa.string())}))
