"""What a screen asks of its workspace, which no widget asks itself: they get snapshots and pages."""

from collections.abc import Sequence
from typing import Any

from replay.document.diff import Difference
from replay.document.paths import ABSENT
from replay.history import call_decisions, catalogue, changes
from replay.history.call_decisions import Decided
from replay.history.catalogue import Folded
from replay.history.changes import Change, Moment
from replay.history.history import DocumentRow, History
from replay.history.large_document import InParts
from replay.projection.reference import Reference
from storage.coordinates.offset_set import holds, offsets
from storage.coordinates.position_map import Mark
from storage.log.event_log import EventDetail, EventLog, EventRow, Extent
from storage.log.positions import START
from storage.timelines import store
from storage.timelines.store import Timeline
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace
from tui.state.lanes import Lane, Lanes, columns
from tui.state.snapshot import Listed, Outlook, Overview, Settled, Sight, Snapshot
from tui.state.window_cache import WIDTH, Windows

MOST_LANES = 4
"""Lines that the strip has for lanes."""
MOST_NEAR = 3
"""Recordings that are shown beside a call that was missed."""


class Model:
    """The workspace and the projection that is looked at. Methods may be called from any thread."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.log = EventLog(workspace)
        self.extent = self.log.extent()
        self.timelines: Sequence[Timeline] = store.known(workspace)
        """The forks that there are."""
        self.history: History | None = None
        self.base: int | None = None
        """The position that documents are compared with; None: the event before."""
        self._lanes = Lanes(workspace)
        self._shown_lanes: Sequence[Lane] = ()
        self._at_base: tuple[tuple[History, str, int] | None, Change | None] = (None, None)
        """A document's place at the base, and what it was there."""
        self._failed: frozenset[int] = frozenset()
        self._printed = offsets()
        self._upcast = offsets()
        self._read = False
        self._called = Windows(self._draw_calls)
        self._events = Windows(self._draw_events)
        self._changes = Windows(self._draw_changes)

    def outlook(self, workspace: Workspace) -> Outlook:
        """What `see` wants to know of a timeline."""
        forks = {fork.name: fork for fork in store.known(workspace)}
        if isinstance(workspace, Seen):  # which may not be kept yet
            forks[workspace.timeline] = workspace.fork
        return Outlook(workspace, EventLog(workspace).extent(), store.in_order([*forks.values()]))

    def ask_timelines(self) -> None:
        """Ask anew which forks there are."""
        self.timelines = store.known(self.workspace)

    def see(self, outlook: Outlook) -> None:
        """Look at another timeline from now on; asks nothing, so that the screen may call it."""
        self.workspace = outlook.workspace
        self.log = EventLog(outlook.workspace)
        self.extent = outlook.extent
        self.timelines = outlook.timelines
        self.base = None
        self._lanes = Lanes(outlook.workspace)
        self._shown_lanes = ()
        self._events.forget()
        self.choose(None)

    def grow(self, extent: Extent) -> None:
        """More events are there; asks nothing either."""
        self.extent = extent
        self._lanes = Lanes(self.workspace)
        self._events.forget()

    def marks(self, first: int, last: int) -> Sequence[Mark]:
        """What was edited between two places."""
        return self.workspace.marks(first, last)

    def projections(self) -> list[Folded]:
        return catalogue.known(self.workspace)

    def find(self, wanted: Reference) -> Folded | None:
        return catalogue.find(self.workspace, wanted)

    def sight(self, folded: Folded) -> Sight:
        """What `choose` wants to know of a projection."""
        history = History(self.workspace, folded)
        failed = frozenset(history.failure_offsets())
        printed, upcast = history.printed_offsets(), history.upcast_offsets()
        return Sight(history, failed, printed, upcast, bool(call_decisions.reads(history, 1)))

    def choose(self, sight: Sight | None) -> None:
        """Look at this from now on; asks nothing, so that the screen may call it."""
        self.history = None if sight is None else sight.history
        self._failed = frozenset() if sight is None else sight.failed
        self._printed = offsets() if sight is None else sight.printed
        self._upcast = offsets() if sight is None else sight.upcast
        self._read = sight is not None and sight.read
        self._called.forget()
        self._changes.forget()

    def look(
        self,
        position: int,
        key: str | None,
        *,
        follow: bool,
        since: Snapshot | None = None,
        ask: bool = True,
    ) -> Snapshot | None:
        """The snapshot at a position; `follow` selects a document that the event changed.

        Without `ask` it takes no longer than a frame, and is None where the file has to be asked:
        a step through a stretch that is at hand, from the snapshot `since`, needs no asking.
        """
        history = self.history
        if not ask and not self._at_hand(position):
            return None
        event = None if position == START else self._events.at(position)
        if history is None:
            return self._nothing(position, event, key, None)
        if not history.folded.knows(position):
            return self._nothing(position, event, key, history)
        changed = self._changes.at(position) or {}
        failures = tuple(history.failures_at(position)) if position in self._failed else ()
        printed = history.printed_at(position) if holds(self._printed, position) else ""
        upcast = history.upcast_at(position) if holds(self._upcast, position) else None
        calls, reads = (self._called.at(position) or ((), ())) if self._calls else ((), ())
        missed = next((call for call in calls if call.decision == "missed"), None)
        near = (
            () if missed is None else tuple(call_decisions.near(self.workspace, missed)[:MOST_NEAR])
        )
        if follow and key not in changed:
            failed = next((f.key for f in failures if f.key is not None), None)
            key = next(iter(changed), failed or key)
        moment = changed.get(key) if key is not None else None
        if not ask and not _at_hand(moment):
            return None
        differences = _differences(moment) if moment is not None else ()
        if moment is None and key is not None:
            if since is not None and self._unchanged(since, position, key):
                moment = since.moment
            elif ask:
                moment = history.moment(key, position)
            else:
                return None
        if self.base is not None and key is not None:
            against = self._against_base(history, key, moment, self.base, ask=ask)
            if against is None:
                return None
            differences = against
        # A large document is drawn here, where the file may be asked.
        value = since.value if since and moment is since.moment else value_of(moment)
        told = (value, differences, failures, printed, calls, reads, near, upcast)
        seen = (history, self.base, *self._labels(position))
        return Snapshot(position, event, tuple(changed), key, moment, *told, *seen)

    def _labels(self, position: int) -> tuple[str, str]:
        return self.shown(position), "" if self.base is None else self.shown(self.base)

    def _nothing(
        self, position: int, event: EventDetail | None, key: str | None, history: History | None
    ) -> Snapshot:
        """A position of which no states are known."""
        told = (ABSENT, (), (), "", (), (), (), None)
        seen = (history, self.base, *self._labels(position))
        return Snapshot(position, event, (), key, None, *told, *seen)

    def _at_hand(self, position: int) -> bool:
        known = position == START or self._events.holds(position)
        if self.history is None:
            return known
        told = (self._printed, self._upcast)
        more = position in self._failed or any(holds(found, position) for found in told)
        called = not self._calls or self._called.holds(position)
        return known and self._changes.holds(position) and called and not more

    @property
    def _calls(self) -> bool:
        """Whether handlers asked or read anything."""
        return self._read or (self.history is not None and self.history.folded.calls > 0)

    def _against_base(
        self, history: History, key: str, moment: Moment | None, base: int, *, ask: bool
    ) -> tuple[Difference, ...] | None:
        """How the document differs from what it was at the base; None where that has to be asked."""
        place = (history, key, base)
        if not ask and moment is not None and isinstance(moment.now, InParts):
            return None
        if self._at_base[0] != place:
            if not ask:
                return None
            self._at_base = (place, history.state(key, base))
        return _differences(Moment(moment.now if moment else None, self._at_base[1]))

    def _unchanged(self, since: Snapshot, position: int, key: str) -> bool:
        """The document's last change is the one that an earlier snapshot shows, as far as is known."""
        first, last = sorted((since.position, position))
        if since.key != key or since.history is not self.history or last - first > WIDTH:
            return False
        stretch = range(first + 1, last + 1)
        return all(self._changes.holds(at) for at in stretch) and not any(
            key in (self._changes.at(at) or ()) for at in stretch
        )

    def settle(self, snapshot: Snapshot) -> Settled:
        """What can wait until time stands still."""
        history, position, key = self.history, snapshot.position, snapshot.key
        if history is None:
            return Settled(position, key, None, None, 0)
        if snapshot.moment is not None and isinstance(snapshot.moment.now, InParts):
            # What lies around takes longer to draw than a step may take.
            for beside in (position + WIDTH, position - WIDTH):
                self._changes.at(max(beside, 0))
        return Settled(
            position,
            key,
            None if key is None else history.ordinal_of(key),
            None if key is None else history.next_change(key, position),
            history.born_by(position),
        )

    def overview(self, stretches: int) -> Overview:
        """The log cut into stretches, for the strip."""
        density = self.log.density(stretches)
        ends = density.last_offsets
        lanes = [(lane, columns(lane.offsets, ends)) for lane in self._shown_lanes]
        return Overview(self.extent, density, columns(self._failed, ends), lanes)

    def draw_lanes(self) -> bool:
        """Ask for the lanes anew; whether they are others, which the next overview then has."""
        history = self.history
        complete = history is not None and history.folded.folded >= self.extent.events
        before = self._shown_lanes
        self._shown_lanes = self._lanes.all(history, complete=complete)[:MOST_LANES]
        return self._shown_lanes != before

    def event_rows(self, first: int, count: int) -> Sequence[Listed]:
        """A row a place, also where an event was dropped."""
        last = min(first + count, self.extent.events) - 1
        return self._listed(range(first, last + 1), self.log.rows(first, count))

    def event_rows_at(self, wanted: Sequence[int]) -> Sequence[Listed]:
        """The rows of these places."""
        return self._listed(wanted, self.log.rows_at(wanted))

    def _listed(self, places: Sequence[int], rows: Sequence[EventRow]) -> list[Listed]:
        there = {row.offset: row for row in rows}
        workspace = self.workspace
        if not isinstance(workspace, Seen) or not places:
            return [Listed(place, self.shown(place), there.get(place)) for place in places]
        marks = {mark.place: mark for mark in workspace.marks(places[0], places[-1])}
        gone = [place for place in places if place not in there]
        before = {
            found: place
            for place in gone
            if (found := workspace.overlay.to_parent(place)) is not None
        }
        for row in EventLog(workspace.parent).rows_at(sorted(before)):
            there[before[row.offset]] = row
        return [
            Listed(place, self.shown(place), there.get(place), marks.get(place)) for place in places
        ]

    def shown(self, place: int) -> str:
        """What a person calls a position: `1,204`, `900+1`."""
        if place == START:
            return "start"
        label = self.workspace.label(place)
        return f"{label.offset:,}+{label.inserted}" if label.inserted else f"{label.offset:,}"

    def document_rows(self, first: int, count: int) -> Sequence[DocumentRow]:
        return self.history.documents(first, count) if self.history else []

    def _draw_events(self, first: int, last: int) -> dict[int, EventDetail]:
        return {event.offset: event for event in self.log.details(first, last - first + 1)}

    def _draw_calls(
        self, first: int, last: int
    ) -> dict[int, tuple[tuple[Decided, ...], tuple[str, ...]]]:
        if self.history is None:
            return {}
        calls = call_decisions.between(self.history, first, last)
        reads = call_decisions.reads_between(self.history, first, last) if self._read else {}
        return {
            offset: (tuple(calls.get(offset, ())), tuple(reads.get(offset, ())))
            for offset in {*calls, *reads}
        }

    def _draw_changes(self, first: int, last: int) -> dict[int, dict[str, Moment]]:
        return {} if self.history is None else self.history.window(first, last)


def _at_hand(moment: Moment | None) -> bool:
    """Whether the document is, as far as it is large."""
    return moment is None or not isinstance(moment.now, InParts) or moment.now.at_hand


def value_of(moment: Moment | None) -> Any:
    """The document's value, or `ABSENT`."""
    return ABSENT if moment is None else changes.value_of(moment.now)


def _differences(moment: Moment) -> tuple[Difference, ...]:
    try:
        return tuple(moment.differences())
    except (ValueError, RecursionError):
        before = moment.before.state if moment.before else None
        now = moment.now.state if moment.now else None
        return (Difference((), ABSENT if before is None else before, now),)
