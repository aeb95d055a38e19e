"""Finds which documents may differ on a fork, and from which position on.

These are the documents that an edited event reached on the parent or reaches on the fork, the
documents that make calls if the fork overrides answers, and all documents if the fork has other code.
"""

from collections.abc import Callable, Iterable

from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_events import build_own_events
from replay.history.catalogue import FoldRecord
from replay.worker_host.worker_group import WorkerGroup
from storage.coordinates.edit_kind import EditKind
from storage.errors import ProjectionError
from storage.folds.decision_rows import DecisionRows
from storage.folds.route_rows import RouteRows
from storage.log.event_rows import EventHead, read_event_heads
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
    parent, hidden = forked_workspace.parent, forked_workspace.position_map.hidden_parent_positions
    hidden_events = read_event_heads(parent, hidden)
    affected = locate_first_difference(forked_workspace, base_record, hidden_events)
    if not affected.affects_all_documents:
        if worker_group.is_routed:
            routes = RouteRows(parent, base_record.scope).read_keys_by_offset(hidden)
            affected.keys.update(*routes.values())
        else:
            affected.keys |= streams_of(hidden_events)
        if EditKind.ANSWERS in _edit_kinds(forked_workspace):
            affected.keys |= DecisionRows(parent, base_record.scope).find_keys_since(
                affected.parent_since_position
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
    forked_workspace: ForkedWorkspace, base_record: FoldRecord, hidden_events: list[EventHead]
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


def _edit_kinds(forked_workspace: ForkedWorkspace) -> set[EditKind]:
    return {edit.kind for edit in forked_workspace.fork.active_edits}


def streams_of(events: Iterable[EventHead]) -> set[str]:
    """Return the streams of these events; removed events have none."""
    return {event.stream for event in events if event.stream is not None}
