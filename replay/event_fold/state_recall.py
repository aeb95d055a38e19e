"""Sends documents back to a worker that doesn't hold them, as their states or as all their events.

A state that survives JSON is restored from its JSON. Every other state is folded again from the
document's events: those of its stream, or those that `routes` lists for it.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from replay.worker_host import event_frame
from storage.coordinates.fold_scope import FoldScope
from storage.folds.history_rows import HistoryRows
from storage.folds.part_rows import DocumentPartRows
from storage.log.event_rows import EventRows
from storage.workspace.workspace import Workspace

DocumentFrame = tuple[dict[str, Any], tuple[Any, ...]]
"""The header and the parts of a protocol frame."""


def recall_states(
    workspace: Workspace, projection_number: int, keys: Sequence[str], *, before_offset: int
) -> DocumentFrame:
    """Return the states of these documents before an offset, as a frame of kind `documents`."""
    scope = FoldScope(projection_number, workspace.timeline)
    latest = HistoryRows(workspace, scope).read_latest_states(keys, before_offset)
    whole = latest.filter(pc.invert(latest["in_parts"]))
    large = latest.filter(latest["in_parts"]).select(["key", "change"]).to_pylist()
    large_documents = [
        _recall_large_document(DocumentPartRows(workspace, scope, row["key"]), before_offset)
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


def _recall_large_document(part_rows: DocumentPartRows, before_offset: int) -> DocumentFrame:
    """Return a large document before an offset: the paths and places of its parts and the number of
    its next member in the header, and the packed texts of the parts."""
    found, last_place = part_rows.read_live_parts_before(before_offset)
    large_fields = {
        "paths": found["part"].to_pylist(),
        "places": found["place"].to_pylist(),
        "following": last_place + 1,
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
    document_events = EventRows(workspace, event_frame.SELECT_COLUMNS).read_reaching(
        FoldScope(projection_number, workspace.timeline), keys, before_offset, is_routed=is_routed
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
    scope = FoldScope(projection_number, workspace.timeline)
    last = HistoryRows(workspace, scope).read_latest_change_numbers(keys, before_offset)
    header, parts = event_frame.build_event_frame(document_events)
    return {**header, "kind": "events", "changes": last}, parts
