"""Finds which documents may differ on a fork, and from which position on.

These are the documents that an edited event reached on the parent or reaches on the fork, the
documents that make calls if the fork overrides answers, and all documents if the fork has other code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_events import build_own_events
from replay.history.catalogue import FoldRecord
from replay.worker_host.worker_group import WorkerGroup
from storage.coordinates.edit_kind import EditKind
from storage.db.query import fetch_rows
from storage.errors import ProjectionError
from storage.timelines.forked_workspace import ForkedWorkspace


def find_affected_documents(
    forked_workspace: ForkedWorkspace,
    base_record: FoldRecord,
    worker_group: WorkerGroup,
    raise_if_cancelled: Callable[[], None],
) -> AffectedDocuments:
    """Return the documents that may differ from the parent's fold `base_record`.

    The worker reports which documents the fork's own events reach. Raises `ProjectionError` if the
    parent's fold has no states before the first difference.
    """
    with forked_workspace.parent.reading() as connection:
        hidden_events = load_events_at(
            connection, forked_workspace.position_map.hidden_parent_positions
        )
        affected = locate_first_difference(forked_workspace, base_record, hidden_events)
        if not affected.affects_all_documents:
            affected.keys |= _keys_of_hidden(
                connection,
                forked_workspace,
                base_record,
                hidden_events,
                is_routed=worker_group.is_routed,
            )
            if EditKind.ANSWERS in _edit_kinds(forked_workspace):
                affected.keys |= _keys_with_calls(
                    connection, base_record, affected.parent_since_position
                )
    inserted_events = build_own_events(forked_workspace.position_map)
    if inserted_events.num_rows and not affected.affects_all_documents:
        affected.keys |= {
            key
            for keys in worker_group.route_events(inserted_events, raise_if_cancelled)
            for key in keys
        }
    return affected


def locate_first_difference(
    forked_workspace: ForkedWorkspace, base_record: FoldRecord, hidden_events: list[dict[str, Any]]
) -> AffectedDocuments:
    """Return the first position that may differ, still without keys.

    Raises `ProjectionError` if the parent's fold has no states before that position.
    """
    overlay, kinds = forked_workspace.position_map, _edit_kinds(forked_workspace)
    positions = overlay.edited_positions
    if kinds & {EditKind.ANSWERS, EditKind.BASE}:
        positions = [overlay.position_of(forked_workspace.fork.at) + 1, *positions]
    since = min(positions, default=overlay.position_count)
    affected = AffectedDocuments(since, overlay.first_parent_position_from(since))
    affected.affects_all_documents = EditKind.BASE in kinds
    affected.hidden_events = hidden_events
    if base_record.first_offset > affected.parent_since_position:
        raise ProjectionError(
            f"{base_record.label} has no states before {forked_workspace.label_at(since)}."
            " Fold it over the whole log first."
        )
    return affected


def load_events_at(
    connection: duckdb.DuckDBPyConnection, positions: Sequence[int]
) -> list[dict[str, Any]]:
    """Return `offset`, `type` and `stream` of the events at these positions, in order."""
    query = 'SELECT "offset", type, stream FROM events'
    if len(positions) <= 1_000:
        listed = ", ".join(str(int(position)) for position in positions) or "NULL"
        return fetch_rows(connection, f'{query} WHERE "offset" IN ({listed}) ORDER BY "offset"')
    connection.register("edited_places", pa.table({"offset": pa.array(positions, pa.int64())}))
    return fetch_rows(
        connection, f'{query} SEMI JOIN edited_places USING ("offset") ORDER BY "offset"'
    )


def _edit_kinds(forked_workspace: ForkedWorkspace) -> set[EditKind]:
    return {edit.kind for edit in forked_workspace.fork.active_edits}


def _keys_of_hidden(
    connection: duckdb.DuckDBPyConnection,
    forked_workspace: ForkedWorkspace,
    base_record: FoldRecord,
    hidden_events: list[dict[str, Any]],
    *,
    is_routed: bool,
) -> set[str]:
    if not is_routed:
        return {row["stream"] for row in hidden_events if row["stream"] is not None}
    connection.register(
        "hidden_places",
        pa.table(
            {"offset": pa.array(forked_workspace.position_map.hidden_parent_positions, pa.int64())}
        ),
    )
    rows = connection.execute(
        'SELECT DISTINCT key FROM routes SEMI JOIN hidden_places USING ("offset")'
        " WHERE projection = ? AND timeline = ?",
        [base_record.projection_number, base_record.timeline],
    ).fetchall()
    return {key for (key,) in rows}


def _keys_with_calls(
    connection: duckdb.DuckDBPyConnection, base_record: FoldRecord, since_position: int
) -> set[str]:
    rows = connection.execute(
        "SELECT DISTINCT key FROM decisions WHERE projection = ? AND timeline = ?"
        ' AND "offset" >= ? AND key IS NOT NULL',
        [base_record.projection_number, base_record.timeline, since_position],
    ).fetchall()
    return {key for (key,) in rows}
