"""Queries for a snapshot: what the screen shows at a position, from memory or from the file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from replay.document.diff import Difference
from replay.document.paths import ABSENT
from replay.history import changes, recorded_calls
from replay.history.changes import DocumentSnapshot
from replay.history.large_document import LargeDocumentChange
from storage.coordinates.offset_set import contains_offset
from storage.log.positions import START
from tui.state.history_view import HistoryView
from tui.state.shown_data import ShownData
from tui.state.snapshot import LateDetails, Snapshot
from tui.state.window_cache import WIDTH

MAX_NEAREST_RECORDINGS = 3
"""Similar recordings shown for a missed call."""


@dataclass(frozen=True)
class SnapshotRequest:
    """What a snapshot is wanted of."""

    data: ShownData
    position: int
    key: str | None = None
    """The selected document."""
    is_pinned: bool = False
    """Keep the selected document; else select one that the event changed."""
    base: int | None = None
    """The position that differences refer to; None: the previous event."""


def snapshot_in_memory(wanted: SnapshotRequest, since: Snapshot | None) -> Snapshot | None:
    """Return the snapshot if that takes no longer than a frame; None if it needs a query.

    A step from the snapshot `since` through cached windows needs none.
    """
    data, position = wanted.data, wanted.position
    is_known = position == START or data.timeline.events.has_window(position)
    view = data.history_view
    if not is_known or not (view is None or view.is_in_memory(position)):
        return None
    return _build_snapshot(wanted, since, may_query=False)


def query_snapshot(wanted: SnapshotRequest, since: Snapshot | None = None) -> Snapshot:
    """Return the snapshot; may query the file, so call it in a thread."""
    snapshot = _build_snapshot(wanted, since, may_query=True)
    assert snapshot is not None  # noqa: S101 - only a snapshot from memory may be missing
    return snapshot


def query_late_details(data: ShownData, snapshot: Snapshot) -> LateDetails:
    """Query the details that can wait until the position has settled."""
    view, position, key = data.history_view, snapshot.position, snapshot.key
    if view is None:
        return LateDetails(position, key, None, None, 0)
    if snapshot.moment is not None and isinstance(snapshot.moment.current, LargeDocumentChange):
        # Load the neighbouring windows now: that is too slow for a step.
        for beside in (position + WIDTH, position - WIDTH):
            view.changes.item_at(max(beside, 0))
    history = view.history
    return LateDetails(
        position,
        key,
        None if key is None else history.ordinal_of(key),
        None if key is None else history.next_change(key, position),
        history.count_documents_at(position),
    )


def _build_snapshot(
    wanted: SnapshotRequest, since: Snapshot | None, *, may_query: bool
) -> Snapshot | None:
    data, position, view = wanted.data, wanted.position, wanted.data.history_view
    blank = _snapshot_without_states(wanted)
    if view is None or not view.fold_record.has_states_at(position):
        return blank
    changed = view.changes.item_at(position) or {}
    reported = _with_reports(blank, data, view)
    key = wanted.key
    if not wanted.is_pinned and key not in changed:
        failed = next((f.key for f in reported.failures if f.key is not None), None)
        key = next(iter(changed), failed or key)
    moment = changed.get(key) if key is not None else None
    if not may_query and not _is_loaded(moment):
        return None
    differences = _differences(moment) if moment is not None else ()
    if moment is None and key is not None:
        if since is not None and _is_unchanged(view, since, position, key):
            moment = since.moment
        elif may_query:
            moment = view.history.document_at(key, position)
        else:
            return None
    if wanted.base is not None and key is not None:
        is_large = moment is not None and isinstance(moment.current, LargeDocumentChange)
        if not may_query and (is_large or not view.base_state.has(key, wanted.base)):
            return None
        base_state = view.base_state.query(key, wanted.base)
        differences = _differences(DocumentSnapshot(moment.current if moment else None, base_state))
    # Load a large document here, because this may query the file.
    value = since.value if since and moment is since.moment else value_of(moment)
    return replace(
        reported,
        changed_keys=tuple(changed),
        key=key,
        moment=moment,
        value=value,
        differences=differences,
    )


def _snapshot_without_states(wanted: SnapshotRequest) -> Snapshot:
    """Return the snapshot of a position without known states."""
    data, position = wanted.data, wanted.position
    return Snapshot(
        position=position,
        event=None if position == START else data.timeline.events.item_at(position),
        changed_keys=(),
        key=wanted.key,
        moment=None,
        value=ABSENT,
        differences=(),
        failures=(),
        printed="",
        calls=(),
        reads=(),
        nearest_recordings=(),
        upcast=None,
        fold_record=None if data.history_view is None else data.history_view.fold_record,
        base=wanted.base,
        label=data.position_label(position),
        base_label="" if wanted.base is None else data.position_label(wanted.base),
    )


def _with_reports(snapshot: Snapshot, data: ShownData, view: HistoryView) -> Snapshot:
    """Add what handlers reported at the event: failures, output, upcasting, calls."""
    history, position = view.history, snapshot.position
    found: dict[str, Any] = {}
    if position in view.failed_offsets:
        found["failures"] = tuple(history.failures_at(position))
    if contains_offset(view.printed_offsets, position):
        found["printed"] = history.printed_output_at(position)
    if contains_offset(view.upcast_offsets, position):
        found["upcast"] = history.upcast_record_at(position)
    if view.has_calls:
        found["calls"], found["reads"] = view.calls.item_at(position) or ((), ())
        missed = next((call for call in found["calls"] if call.decision == "missed"), None)
        if missed is not None:
            similar = recorded_calls.find_similar_recordings(data.workspace, missed)
            found["nearest_recordings"] = tuple(similar[:MAX_NEAREST_RECORDINGS])
    return replace(snapshot, **found) if found else snapshot


def _is_unchanged(view: HistoryView, since: Snapshot, position: int, key: str) -> bool:
    """Return whether the cached windows show no change of the document since a snapshot."""
    first, last = sorted((since.position, position))
    if since.key != key or since.fold_record is not view.fold_record or last - first > WIDTH:
        return False
    stretch = range(first + 1, last + 1)
    return all(view.changes.has_window(at) for at in stretch) and not any(
        key in _changes_at(view, at) for at in stretch
    )


def _changes_at(view: HistoryView, position: int) -> Mapping[str, DocumentSnapshot]:
    return view.changes.item_at(position) or {}


def _is_loaded(moment: DocumentSnapshot | None) -> bool:
    """Return whether the document is in memory; only a large one may not be."""
    return (
        moment is None
        or not isinstance(moment.current, LargeDocumentChange)
        or moment.current.is_cached
    )


def value_of(moment: DocumentSnapshot | None) -> Any:
    """Return the document's value, or `ABSENT`."""
    return ABSENT if moment is None else changes.value_after(moment.current)


def _differences(moment: DocumentSnapshot) -> tuple[Difference, ...]:
    try:
        return tuple(moment.differences_to_previous())
    except (ValueError, RecursionError):
        before = moment.previous.state if moment.previous else None
        now = moment.current.state if moment.current else None
        return (Difference((), ABSENT if before is None else before, now),)
