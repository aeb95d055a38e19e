"""What the screen shows at a position: asked for in a thread, never changed after.

A snapshot holds what a step must show at once; what can wait until time stands still is `Settled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replay.document.diff import Difference
from replay.history.call_decisions import Decided, Near
from replay.history.changes import Moment
from replay.history.fold_reports import Failure, Upcast
from replay.history.history import History
from storage.coordinates.offset_set import Offsets
from storage.coordinates.position_map import Mark
from storage.log.event_log import Density, EventDetail, EventRow, Extent
from storage.timelines.store import Timeline
from storage.workspace.workspace import Workspace
from tui.state.lanes import Lane


@dataclass(frozen=True)
class Sight:
    """A history to look at, with what is asked about it at every step."""

    history: History
    failed: frozenset[int]
    printed: "Offsets[int]"
    """Where handlers printed something."""
    upcast: "Offsets[int]"
    """Where an event was handled as another."""
    read: bool
    """Whether clocks or random numbers were read."""


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
    value: Any
    """What the document is; `ABSENT` where it isn't there."""
    differences: tuple[Difference, ...]
    """What this event changed in the selected document; empty if it changed another, or none."""
    failures: tuple[Failure, ...]
    """What was raised at this event."""
    printed: str
    """What its handlers printed."""
    calls: tuple[Decided, ...]
    """What its handlers asked of the outside, and tried to."""
    reads: tuple[str, ...]
    """What they read of clocks and random numbers."""
    near: tuple[Near, ...]
    """Recordings that are like a call that was missed."""
    upcast: Upcast | None
    """What the event was handled as, where that isn't what is stored."""
    history: History | None
    """Where the states are from."""
    base: int | None
    """The position that the differences are against; None: the event before."""
    label: str
    """What the position is called: `1,204`, `900+1`."""
    base_label: str
    """The same of the base; empty where there is none."""

    @property
    def known(self) -> bool:
        """Whether the states of the position are kept."""
        return self.history is not None and self.history.folded.knows(self.position)


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
    lanes: Sequence[tuple[Lane, Sequence[int]]]
    """The other lanes, with the stretches in which each has a place."""


@dataclass(frozen=True)
class Listed:
    """An event as the list shows it."""

    place: int
    label: str
    """What it is called: `1,204`, `900+1`."""
    row: EventRow | None
    """Of one that was dropped, what it was."""
    mark: Mark | None = None
    """What was done to it on the fork."""


@dataclass(frozen=True)
class Outlook:
    """A timeline to look at, with what is asked of it once."""

    workspace: Workspace
    extent: Extent
    timelines: Sequence[Timeline]
