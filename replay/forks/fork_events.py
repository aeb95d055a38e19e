"""Loads the events for a fork's worker: those that reach affected documents, at fork positions."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.forks.affected_documents import AffectedDocuments
from replay.history.catalogue import FoldRecord
from replay.worker_host import event_frame
from storage.folds.route_rows import RouteRows
from storage.log.event_rows import EventRows, find_offsets_of_streams
from storage.timelines.edits import EVENT_FIELDS
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.timelines.overlay import ForkOverlay
from storage.workspace.workspace import Workspace

MAX_DOCUMENTS_IN_MEMORY = 2_000
"""Up to this many documents, all of their events are held in memory at once."""
_BATCH_EVENTS = 50_000

_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("stream", pa.string()),
        ("revision", pa.int64()),
        *((name, pa.string()) for name in ("type", "version", "id", "correlation_id")),
        *((name, pa.string()) for name in ("causation_id", "data", "meta")),
    ]
)


def build_own_events(overlay: ForkOverlay) -> pa.Table:
    """Return the events that a fork inserts, moves or replaces, in order."""
    columns: dict[str, list[Any]] = {"offset": [one.position for one in overlay.own_events]}
    for name in EVENT_FIELDS:
        columns[name] = [getattr(one.event, name) for one in overlay.own_events]
    return pa.table({name: columns[name] for name in _SCHEMA.names}, schema=_SCHEMA)


def load_events_reaching(
    workspace: Workspace, base_record: FoldRecord, keys: Collection[str], *, is_routed: bool
) -> pa.Table:
    """Return all events of a timeline that reached these documents, in order.

    `is_routed` tells that `routes` lists the documents of an event; without it, they are streams.
    """
    if is_routed:
        routes = RouteRows(workspace, base_record.scope).read_to_keys(keys)
        return load_events_at_positions(workspace, sorted({position for position, _ in routes}))
    return _cast_to_schema(_event_rows(workspace).read_of_streams(keys))


def load_events_at_positions(workspace: Workspace, positions: Sequence[int]) -> pa.Table:
    """Return the events at these ascending positions, in order."""
    if not positions:
        return _SCHEMA.empty_table()
    return _cast_to_schema(_event_rows(workspace).read_at(positions))


def overlay_events(
    overlay: ForkOverlay, parent_events_in: pa.Table, affected: AffectedDocuments
) -> pa.Table:
    """Return the fork's events since its first difference: its own and the parent's visible ones.

    `parent_events_in` are events of the parent in order; the result has fork positions.
    """
    parent_events = parent_events_in.filter(pc.field("offset") >= affected.parent_since_position)
    offsets = parent_events["offset"].to_numpy()
    is_visible = ~np.isin(offsets, overlay.hidden_parent_positions)
    parent_events = parent_events.filter(pa.array(is_visible))
    fork_offsets = offsets[is_visible] + np.searchsorted(
        overlay.insert_anchors, offsets[is_visible]
    )
    parent_events = parent_events.set_column(0, "offset", pa.array(fork_offsets, pa.int64()))
    if not overlay.own_events:
        return parent_events
    return pa.concat_tables([parent_events, build_own_events(overlay)]).sort_by("offset")


def iterate_event_batches(
    forked_workspace: ForkedWorkspace,
    base_record: FoldRecord,
    affected: AffectedDocuments,
    *,
    is_routed: bool,
) -> Iterator[pa.Table]:
    """Yield batches of the fork's events that reach affected documents, when these are very many."""
    if affected.affects_all_documents:
        for first in range(
            affected.since_position, forked_workspace.position_map.position_count, _BATCH_EVENTS
        ):
            yield _load_events_between(forked_workspace, first, first + _BATCH_EVENTS)
        return
    if is_routed:
        positions = _positions_reaching(forked_workspace, base_record, affected)
    else:
        positions = find_offsets_of_streams(
            forked_workspace, affected.keys, affected.since_position
        )
    for first in range(0, len(positions), _BATCH_EVENTS):
        yield load_events_at_positions(forked_workspace, positions[first : first + _BATCH_EVENTS])


def _positions_reaching(
    forked_workspace: ForkedWorkspace, base_record: FoldRecord, affected: AffectedDocuments
) -> list[int]:
    overlay = forked_workspace.position_map
    rows = RouteRows(forked_workspace.parent, base_record.scope).read_to_keys(
        affected.keys, affected.parent_since_position
    )
    hidden = set(overlay.hidden_parent_positions)
    positions = {overlay.from_parent(position) for position, _ in rows if position not in hidden}
    return sorted(positions | {one.position for one in overlay.own_events})


def _load_events_between(forked_workspace: ForkedWorkspace, first: int, end: int) -> pa.Table:
    events = _event_rows(forked_workspace).read_between(first, end)
    return _cast_to_schema(events).sort_by("offset")


def _event_rows(workspace: Workspace) -> EventRows:
    return EventRows(workspace, event_frame.SELECT_COLUMNS)


def _cast_to_schema(table: pa.Table) -> pa.Table:
    return table.cast(_SCHEMA)
