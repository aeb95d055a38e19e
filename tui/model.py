"""What the screen shows at a position: one snapshot, asked for in a thread, never changed after.

Widgets get snapshots and pages; none of them asks the workspace itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from replay import catalogue
from replay.catalogue import MAIN, Folded
from replay.diff import ABSENT, Difference, decode
from replay.history import DocumentRow, Failure, History, Moment
from replay.reference import Reference
from storage.log import Density, EventDetail, EventLog, EventRow, Extent
from storage.positions import START
from storage.workspace import Workspace


@dataclass(frozen=True)
class Snapshot:
    """Everything about one position."""

    position: int
    event: EventDetail | None
    """The event that the position stands after; None at the start."""
    touched: tuple[str, ...]
    """Documents that the event changed."""
    key: str | None
    """The selected document."""
    ordinal: int | None
    moment: Moment | None
    differences: tuple[Difference, ...]
    """What this event changed in the selected document; empty if it changed another, or none."""
    next_change: int | None
    failures: tuple[Failure, ...]
    """What was raised at this event."""
    documents: int
    """How many documents had been born."""
    folded: int
    """The position is beyond what is folded if it isn't below this."""


@dataclass(frozen=True)
class Overview:
    """The log as the strip shows it."""

    extent: Extent
    density: Density
    failures: npt.NDArray[np.int64]
    """Stretches in which a handler raised."""


class Model:
    """The workspace and the projection that is looked at. Methods may be called from any thread."""

    def __init__(self, workspace: Workspace, timeline: str = MAIN) -> None:
        self.workspace = workspace
        self.timeline = timeline
        self.log = EventLog(workspace)
        self.extent = self.log.extent()
        self.history: History | None = None

    def projections(self) -> list[Folded]:
        return catalogue.known(self.workspace, self.timeline)

    def find(self, wanted: Reference) -> Folded | None:
        return catalogue.find(self.workspace, wanted, self.timeline)

    def choose(self, folded: Folded | None) -> None:
        """Look at this projection from now on."""
        self.history = None if folded is None else History(self.workspace, folded)

    def look(self, position: int, key: str | None, *, follow: bool) -> Snapshot:
        """The snapshot at a position; `follow` selects a document that the event changed."""
        history = self.history
        event = None if position == START else self.log.event(position)
        if history is None or position == START:
            return Snapshot(
                position, event, (), key, None, None, (), None, (), 0, self._folded(history)
            )
        touched = tuple(history.keys_changed_at(position))
        failures = tuple(history.failures_at(position)) if history.folded.failures else ()
        if follow and key not in touched:
            failed = next((f.key for f in failures if f.key is not None), None)
            key = touched[0] if touched else failed or key
        moment = None if key is None else history.moment(key, position)
        changed = moment is not None and moment.changed_at == position
        return Snapshot(
            position,
            event,
            touched,
            key,
            None if key is None else history.ordinal_of(key),
            moment,
            tuple(moment.differences()) if moment is not None and changed else (),
            None if key is None else history.next_change(key, position),
            failures,
            history.born_by(position),
            self._folded(history),
        )

    def overview(self, stretches: int) -> Overview:
        """The log cut into stretches, for the strip."""
        density = self.log.density(stretches)
        failures = self.history.failure_offsets() if self.history else []
        lane = np.unique(np.searchsorted(density.last_offsets, np.array(failures, dtype=np.int64)))
        return Overview(self.extent, density, lane)

    def offsets_for(self, text: str) -> npt.NDArray[np.int64]:
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

    @staticmethod
    def _folded(history: History | None) -> int:
        return history.folded.folded if history else 0


def value_of(moment: Moment | None) -> Any:
    """The document's value, or `ABSENT`."""
    return ABSENT if moment is None or moment.now is None else decode(moment.now.state)
