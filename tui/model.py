"""What the screen shows at a position: one snapshot, asked for in a thread, never changed after.

Widgets get snapshots and pages; none of them asks the workspace itself. A snapshot holds what a
step must show at once; what can wait until time stands still is `Settled`.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replay import catalogue
from replay.catalogue import MAIN, Folded
from replay.diff import Difference, readable
from replay.history import DocumentRow, Failure, History, Moment
from replay.paths import ABSENT
from replay.reference import Reference
from replay.windows import WIDTH, Windows
from storage.log import Density, EventDetail, EventLog, EventRow, Extent
from storage.offsets import Offsets
from storage.positions import START
from storage.workspace import Workspace


@dataclass(frozen=True)
class Sight:
    """A history to look at, with what is asked about it at every step."""

    history: History
    failed: frozenset[int]
    """Offsets at which a handler raised."""


@dataclass(frozen=True)
class Snapshot:
    """Everything about one position that changes with every step."""

    position: int
    event: EventDetail | None
    """The event that the position stands after; None at the start."""
    touched: tuple[str, ...]
    """Documents that the event changed."""
    key: str | None
    """The selected document."""
    moment: Moment | None
    differences: tuple[Difference, ...]
    """What this event changed in the selected document; empty if it changed another, or none."""
    failures: tuple[Failure, ...]
    """What was raised at this event."""
    history: History | None
    """Where the states are from."""

    @property
    def folded(self) -> int:
        """The position is beyond what is folded if it isn't below this."""
        return self.history.folded.folded if self.history else 0


@dataclass(frozen=True)
class Settled:
    """What belongs to a snapshot and may come a moment later."""

    position: int
    key: str | None
    ordinal: int | None
    """The selected document's place among all."""
    next_change: int | None
    documents: int
    """How many documents had been born."""


@dataclass(frozen=True)
class Overview:
    """The log as the strip shows it."""

    extent: Extent
    density: Density
    failures: Sequence[int]
    """Stretches in which a handler raised."""


class Model:
    """The workspace and the projection that is looked at. Methods may be called from any thread."""

    def __init__(self, workspace: Workspace, timeline: str = MAIN) -> None:
        self.workspace = workspace
        self.timeline = timeline
        self.log = EventLog(workspace)
        self.extent = self.log.extent()
        self.history: History | None = None
        self._failed: frozenset[int] = frozenset()
        self._events = Windows(self._draw_events)
        self._changes = Windows(self._draw_changes)

    def projections(self) -> list[Folded]:
        return catalogue.known(self.workspace, self.timeline)

    def find(self, wanted: Reference) -> Folded | None:
        return catalogue.find(self.workspace, wanted, self.timeline)

    def sight(self, folded: Folded) -> Sight:
        """What `choose` wants to know of a projection."""
        history = History(self.workspace, folded)
        return Sight(history, frozenset(history.failure_offsets()))

    def choose(self, sight: Sight | None) -> None:
        """Look at this from now on; asks nothing, so that the screen may call it."""
        self.history = None if sight is None else sight.history
        self._failed = frozenset() if sight is None else sight.failed
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
            return Snapshot(position, event, (), key, None, (), (), None)
        changed = self._changes.at(position) or {}
        failures = tuple(history.failures_at(position)) if position in self._failed else ()
        if follow and key not in changed:
            failed = next((f.key for f in failures if f.key is not None), None)
            key = next(iter(changed), failed or key)
        moment = changed.get(key) if key is not None else None
        differences = _differences(moment) if moment is not None else ()
        if moment is None and key is not None:
            if since is not None and self._unchanged(since, position, key):
                moment = since.moment
            elif ask:
                moment = history.moment(key, position)
            else:
                return None
        touched = tuple(changed)
        return Snapshot(position, event, touched, key, moment, differences, failures, history)

    def _at_hand(self, position: int) -> bool:
        known = position == START or self._events.holds(position)
        if self.history is None:
            return known
        return known and self._changes.holds(position) and position not in self._failed

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
        lane = {bisect_left(density.last_offsets, offset) for offset in self._failed}
        return Overview(self.extent, density, sorted(lane))

    def offsets_for(self, text: str) -> "Offsets[int]":
        """Offsets of the events that a filter keeps: a condition, or text that they contain.

        Raises `QueryError` for a condition that can't be asked.
        """
        if re.search(r"[=<>]|\b(like|ilike|in|is|between|not)\b|\(", text, re.IGNORECASE):
            return self.log.matching(text)
        return self.log.containing(text)

    def event_rows(self, first: int, count: int) -> Sequence[EventRow]:
        return self.log.rows(first, count)

    def document_rows(self, first: int, count: int) -> Sequence[DocumentRow]:
        return self.history.documents(first, count) if self.history else []

    def _draw_events(self, first: int, last: int) -> dict[int, EventDetail]:
        return {event.offset: event for event in self.log.details(first, last - first + 1)}

    def _draw_changes(self, first: int, last: int) -> dict[int, dict[str, Moment]]:
        return {} if self.history is None else self.history.window(first, last)


def value_of(moment: Moment | None) -> Any:
    """The document's value, or `ABSENT`."""
    return ABSENT if moment is None or moment.now is None else readable(moment.now.state)


def _differences(moment: Moment) -> tuple[Difference, ...]:
    try:
        return tuple(moment.differences())
    except (ValueError, RecursionError):
        before = moment.before.state if moment.before else None
        now = moment.now.state if moment.now else None
        return (Difference((), ABSENT if before is None else before, now),)
