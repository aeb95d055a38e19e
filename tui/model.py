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
from replay.diff import ABSENT, Difference, decode
from replay.history import DocumentRow, Failure, History, Moment
from replay.reference import Reference
from replay.windows import Windows
from storage.log import Density, EventDetail, EventLog, EventRow, Extent
from storage.offsets import Offsets
from storage.positions import START
from storage.workspace import Workspace


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
    folded: int
    """The position is beyond what is folded if it isn't below this."""


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

    def choose(self, folded: Folded | None) -> None:
        """Look at this projection from now on."""
        self.history = None if folded is None else History(self.workspace, folded)
        self._failed = frozenset(self.history.failure_offsets() if self.history else ())
        self._changes.forget()

    def look(self, position: int, key: str | None, *, follow: bool) -> Snapshot:
        """The snapshot at a position; `follow` selects a document that the event changed."""
        history = self.history
        event = None if position == START else self._events.at(position)
        if history is None:
            return Snapshot(position, event, (), key, None, (), (), self._folded(history))
        changed = self._changes.at(position) or {}
        failures = tuple(history.failures_at(position)) if position in self._failed else ()
        if follow and key not in changed:
            failed = next((f.key for f in failures if f.key is not None), None)
            key = next(iter(changed), failed or key)
        moment = changed.get(key) if key is not None else None
        differences = _differences(moment) if moment is not None else ()
        if moment is None and key is not None:
            moment = history.moment(key, position)
        return Snapshot(
            position,
            event,
            tuple(changed),
            key,
            moment,
            differences,
            failures,
            self._folded(history),
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

    @staticmethod
    def _folded(history: History | None) -> int:
        return history.folded.folded if history else 0


def value_of(moment: Moment | None) -> Any:
    """The document's value, or `ABSENT`."""
    return ABSENT if moment is None or moment.now is None else readable(moment.now.state)


def readable(text: str | None) -> Any:
    """The value of JSON text; the text itself where it can't be taken apart.

    DuckDB takes for JSON what a stricter decoder doesn't: NaN, integers of 5,000 digits, a
    thousand brackets.
    """
    try:
        return decode(text)
    except (ValueError, RecursionError):
        return text


def _differences(moment: Moment) -> tuple[Difference, ...]:
    try:
        return tuple(moment.differences())
    except (ValueError, RecursionError):
        before = moment.before.state if moment.before else None
        now = moment.now.state if moment.now else None
        return (Difference((), ABSENT if before is None else before, now),)
