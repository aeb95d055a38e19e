"""The session: all queries of the screens to the workspace. Widgets get only snapshots and pages."""

from collections.abc import Sequence
from typing import Any

from replay.document.diff import Difference
from replay.document.paths import ABSENT
from replay.history import call_decisions, catalogue, changes, recorded_calls
from replay.history.call_decisions import CallDecision
from replay.history.catalogue import FoldRecord
from replay.history.changes import Change, DocumentSnapshot
from replay.history.history import DocumentRow, History
from replay.history.large_document import LargeDocumentChange
from replay.projection.projection_reference import Reference
from storage.coordinates.event_labels import format_label
from storage.coordinates.offset_set import contains_offset, pack_offsets
from storage.coordinates.position_map import EditMark
from storage.log.event_log import EventDetail, EventLog, EventSummary, LogExtent
from storage.log.positions import START
from storage.timelines import fork_store
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import as_fork
from storage.workspace.workspace import Workspace
from tui.state.lanes import Lane, Lanes, strip_columns
from tui.state.snapshot import (
    HistoryView,
    LateDetails,
    ListedEvent,
    Overview,
    Snapshot,
    TimelineView,
)
from tui.state.window_cache import WIDTH, WindowCache

MAX_LANES = 4
"""Lanes that the strip shows."""
MAX_NEAREST_RECORDINGS = 3
"""Similar recordings shown for a missed call."""


class Session:
    """The open workspace and the shown projection. Methods may be called from any thread."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.log = EventLog(workspace)
        self.extent = self.log.read_extent()
        self.timelines: Sequence[Fork] = fork_store.list_forks(workspace)
        """All forks of the workspace."""
        self.history: History | None = None
        self.base: int | None = None
        """The position that documents are compared with; None: the previous event."""
        self._lanes = Lanes(workspace)
        self._shown_lanes: Sequence[Lane] = ()
        self._at_base: tuple[tuple[History, str, int] | None, Change | None] = (None, None)
        """Cached state at the base: (history, key, base), and the change there."""
        self._failed: frozenset[int] = frozenset()
        self._printed = pack_offsets()
        self._upcast = pack_offsets()
        self._read = False
        self._called = WindowCache(self._draw_calls)
        self._events = WindowCache(self._draw_events)
        self._changes = WindowCache(self._draw_changes)

    def query_timeline(self, workspace: Workspace) -> TimelineView:
        """Query a timeline for `show_timeline`."""
        forks = {fork.name: fork for fork in fork_store.list_forks(workspace)}
        fork = as_fork(workspace)
        if fork is not None:  # it may not be saved yet
            forks[fork.timeline] = fork.fork
        return TimelineView(
            workspace,
            EventLog(workspace).read_extent(),
            fork_store.sort_parents_first([*forks.values()]),
        )

    def refresh_timelines(self) -> None:
        """Query the forks again."""
        self.timelines = fork_store.list_forks(self.workspace)

    def show_timeline(self, outlook: TimelineView) -> None:
        """Show another timeline. Queries nothing, so the screen's thread may call it."""
        self.workspace = outlook.workspace
        self.log = EventLog(outlook.workspace)
        self.extent = outlook.extent
        self.timelines = outlook.timelines
        self.base = None
        self._lanes = Lanes(outlook.workspace)
        self._shown_lanes = ()
        self._events.clear()
        self.show_history(None)

    def extend_log(self, extent: LogExtent) -> None:
        """Set the extent of a log that has grown. Queries nothing."""
        self.extent = extent
        self._lanes = Lanes(self.workspace)
        self._events.clear()

    def edit_marks(self, first: int, last: int) -> Sequence[EditMark]:
        """Return the edits between two positions."""
        return self.workspace.edit_marks(first, last)

    def projections(self) -> list[FoldRecord]:
        return catalogue.list_folds(self.workspace)

    def find(self, wanted: Reference) -> FoldRecord | None:
        return catalogue.find_fold(self.workspace, wanted)

    def query_history(self, folded: FoldRecord) -> HistoryView:
        """Query a projection's history for `show_history`."""
        history = History(self.workspace, folded)
        failed = frozenset(history.failure_offsets())
        printed, upcast = history.printed_offsets(), history.upcast_offsets()
        return HistoryView(
            history,
            failed,
            printed,
            upcast,
            bool(call_decisions.list_nondeterministic_reads(history, 1)),
        )

    def show_history(self, view: HistoryView | None) -> None:
        """Show a history. Queries nothing, so the screen's thread may call it."""
        self.history = None if view is None else view.history
        self._failed = frozenset() if view is None else view.failed_offsets
        self._printed = pack_offsets() if view is None else view.printed_offsets
        self._upcast = pack_offsets() if view is None else view.upcast_offsets
        self._read = view is not None and view.read
        self._called.clear()
        self._changes.clear()

    def snapshot_at(
        self,
        position: int,
        key: str | None,
        *,
        follow: bool,
        since: Snapshot | None = None,
        ask: bool = True,
    ) -> Snapshot | None:
        """Return the snapshot at a position; `follow` selects a document that the event changed.

        Without `ask` it takes no longer than a frame, and returns None if it would have to query the
        file. A step from the snapshot `since` through cached windows needs no query.
        """
        history = self.history
        if not ask and not self._at_hand(position):
            return None
        event = None if position == START else self._events.item_at(position)
        if history is None:
            return self._snapshot_without_states(position, event, key, None)
        if not history.fold_record.has_states_at(position):
            return self._snapshot_without_states(position, event, key, history)
        changed = self._changes.item_at(position) or {}
        failures = tuple(history.failures_at(position)) if position in self._failed else ()
        printed = (
            history.printed_output_at(position) if contains_offset(self._printed, position) else ""
        )
        upcast = (
            history.upcast_record_at(position) if contains_offset(self._upcast, position) else None
        )
        calls, reads = (self._called.item_at(position) or ((), ())) if self._has_calls else ((), ())
        missed = next((call for call in calls if call.decision == "missed"), None)
        near = (
            ()
            if missed is None
            else tuple(
                recorded_calls.find_similar_recordings(self.workspace, missed)[
                    :MAX_NEAREST_RECORDINGS
                ]
            )
        )
        if follow and key not in changed:
            failed = next((f.key for f in failures if f.key is not None), None)
            key = next(iter(changed), failed or key)
        moment = changed.get(key) if key is not None else None
        if not ask and not _is_loaded(moment):
            return None
        differences = _differences(moment) if moment is not None else ()
        if moment is None and key is not None:
            if since is not None and self._is_unchanged(since, position, key):
                moment = since.moment
            elif ask:
                moment = history.document_at(key, position)
            else:
                return None
        if self.base is not None and key is not None:
            against = self._differences_from_base(history, key, moment, self.base, ask=ask)
            if against is None:
                return None
            differences = against
        # Load a large document here, because this may query the file.
        value = since.value if since and moment is since.moment else value_of(moment)
        told = (value, differences, failures, printed, calls, reads, near, upcast)
        seen = (history, self.base, *self._labels(position))
        return Snapshot(position, event, tuple(changed), key, moment, *told, *seen)

    def _labels(self, position: int) -> tuple[str, str]:
        return self.position_label(position), "" if self.base is None else self.position_label(
            self.base
        )

    def _snapshot_without_states(
        self, position: int, event: EventDetail | None, key: str | None, history: History | None
    ) -> Snapshot:
        """Return the snapshot of a position without known states."""
        told = (ABSENT, (), (), "", (), (), (), None)
        seen = (history, self.base, *self._labels(position))
        return Snapshot(position, event, (), key, None, *told, *seen)

    def _at_hand(self, position: int) -> bool:
        known = position == START or self._events.has_window(position)
        if self.history is None:
            return known
        told = (self._printed, self._upcast)
        more = position in self._failed or any(contains_offset(found, position) for found in told)
        called = not self._has_calls or self._called.has_window(position)
        return known and self._changes.has_window(position) and called and not more

    @property
    def _has_calls(self) -> bool:
        """Whether handlers made calls or read clocks or random numbers."""
        return self._read or (self.history is not None and self.history.fold_record.call_count > 0)

    def _differences_from_base(
        self, history: History, key: str, moment: DocumentSnapshot | None, base: int, *, ask: bool
    ) -> tuple[Difference, ...] | None:
        """Return the differences to the base; None if that needs a query and `ask` is false."""
        place = (history, key, base)
        if not ask and moment is not None and isinstance(moment.current, LargeDocumentChange):
            return None
        if self._at_base[0] != place:
            if not ask:
                return None
            self._at_base = (place, history.state_at(key, base))
        return _differences(DocumentSnapshot(moment.current if moment else None, self._at_base[1]))

    def _is_unchanged(self, since: Snapshot, position: int, key: str) -> bool:
        """Return whether the cached windows show no change of the document since a snapshot."""
        first, last = sorted((since.position, position))
        if since.key != key or since.history is not self.history or last - first > WIDTH:
            return False
        stretch = range(first + 1, last + 1)
        return all(self._changes.has_window(at) for at in stretch) and not any(
            key in (self._changes.item_at(at) or ()) for at in stretch
        )

    def late_details(self, snapshot: Snapshot) -> LateDetails:
        """Query the details that can wait until the position has settled."""
        history, position, key = self.history, snapshot.position, snapshot.key
        if history is None:
            return LateDetails(position, key, None, None, 0)
        if snapshot.moment is not None and isinstance(snapshot.moment.current, LargeDocumentChange):
            # Load the neighbouring windows now: that is too slow for a step.
            for beside in (position + WIDTH, position - WIDTH):
                self._changes.item_at(max(beside, 0))
        return LateDetails(
            position,
            key,
            None if key is None else history.ordinal_of(key),
            None if key is None else history.next_change(key, position),
            history.count_documents_at(position),
        )

    def overview(self, stretches: int) -> Overview:
        """Return the log divided into stretches, for the strip."""
        density = self.log.read_density(stretches)
        ends = density.last_offsets
        lanes = [(lane, strip_columns(lane.offsets, ends)) for lane in self._shown_lanes]
        return Overview(self.extent, density, strip_columns(self._failed, ends), lanes)

    def refresh_lanes(self) -> bool:
        """Query the lanes again; return whether they changed. The next overview has them."""
        history = self.history
        complete = (
            history is not None and history.fold_record.next_offset >= self.extent.event_count
        )
        before = self._shown_lanes
        self._shown_lanes = self._lanes.query_lanes(history, complete=complete)[:MAX_LANES]
        return self._shown_lanes != before

    def event_rows(self, first: int, count: int) -> Sequence[ListedEvent]:
        """Return one row per position, also for dropped events."""
        last = min(first + count, self.extent.event_count) - 1
        return self._listed(range(first, last + 1), self.log.read_events(first, count))

    def event_rows_at(self, wanted: Sequence[int]) -> Sequence[ListedEvent]:
        """Return the rows of these positions."""
        return self._listed(wanted, self.log.read_events_at(wanted))

    def _listed(self, places: Sequence[int], rows: Sequence[EventSummary]) -> list[ListedEvent]:
        there = {row.offset: row for row in rows}
        workspace = as_fork(self.workspace)
        if workspace is None or not places:
            return [
                ListedEvent(place, self.position_label(place), there.get(place)) for place in places
            ]
        marks = {mark.position: mark for mark in workspace.edit_marks(places[0], places[-1])}
        gone = [place for place in places if place not in there]
        before = {
            found: place
            for place in gone
            if (found := workspace.position_map.to_parent(place)) is not None
        }
        for row in EventLog(workspace.parent).read_events_at(sorted(before)):
            there[before[row.offset]] = row
        return [
            ListedEvent(place, self.position_label(place), there.get(place), marks.get(place))
            for place in places
        ]

    def position_label(self, place: int) -> str:
        """Return a position as shown: `1,204`, `900+1`, `start`."""
        if place == START:
            return "start"
        return format_label(self.workspace.label_at(place))

    def document_rows(self, first: int, count: int) -> Sequence[DocumentRow]:
        return self.history.documents(first, count) if self.history else []

    def _draw_events(self, first: int, last: int) -> dict[int, EventDetail]:
        return {event.offset: event for event in self.log.read_details(first, last - first + 1)}

    def _draw_calls(
        self, first: int, last: int
    ) -> dict[int, tuple[tuple[CallDecision, ...], tuple[str, ...]]]:
        if self.history is None:
            return {}
        calls = call_decisions.read_decisions_between(self.history, first, last)
        reads = (
            call_decisions.list_nondeterministic_reads_between(self.history, first, last)
            if self._read
            else {}
        )
        return {
            offset: (tuple(calls.get(offset, ())), tuple(reads.get(offset, ())))
            for offset in {*calls, *reads}
        }

    def _draw_changes(self, first: int, last: int) -> dict[int, dict[str, DocumentSnapshot]]:
        return {} if self.history is None else self.history.changes_by_event(first, last)


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
