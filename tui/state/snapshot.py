"""What the screen shows at a position: asked for in a thread, never changed after.

A snapshot holds what a step must show at once; what can wait until time stands still is `LateDetails`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replay.document.diff import Difference
from replay.history.call_decisions import CallDecision, SimilarRecording
from replay.history.changes import DocumentSnapshot
from replay.history.fold_reports import Failure, UpcastRecord
from replay.history.history import History
from storage.coordinates.offset_set import Offsets
from storage.coordinates.position_map import EditMark
from storage.log.event_log import EventDensity, EventDetail, EventSummary, LogExtent
from storage.timelines.fork_store import Fork
from storage.workspace.workspace import Workspace
from tui.state.lanes import Lane


@dataclass(frozen=True)
class HistoryView:
    """A history to look at, with what is asked about it at every step."""

    history: History
    failed_offsets: frozenset[int]
    printed_offsets: "Offsets[int]"
    """Where handlers printed something."""
    upcast_offsets: "Offsets[int]"
    """Where an event was handled as another."""
    read: bool
    """Whether clocks or random numbers were read."""


@dataclass(frozen=True)
class Snapshot:
    """Everything about one position that changes with every step."""

    position: int
    event: EventDetail | None
    """The event that the position stands after; None at the start."""
    changed_keys: tuple[str, ...]
    """Documents that the event changed."""
    key: str | None
    """The selected document."""
    moment: DocumentSnapshot | None
    value: Any
    """What the document is; `ABSENT` where it isn't there."""
    differences: tuple[Difference, ...]
    """What this event changed in the selected document; empty if it changed another, or none."""
    failures: tuple[Failure, ...]
    """What was raised at this event."""
    printed: str
    """What its handlers printed."""
    calls: tuple[CallDecision, ...]
    """What its handlers asked of the outside, and tried to."""
    reads: tuple[str, ...]
    """What they read of clocks and random numbers."""
    nearest_recordings: tuple[SimilarRecording, ...]
    """Recordings that are like a call that was missed."""
    upcast: UpcastRecord | None
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
    def has_states(self) -> bool:
        """Whether the states of the position are kept."""
        return self.history is not None and self.history.fold_record.has_states_at(self.position)


@dataclass(frozen=True)
class LateDetails:
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

    extent: LogExtent
    density: EventDensity
    failures: Sequence[int]
    """Stretches in which a handler raised."""
    lanes: Sequence[tuple[Lane, Sequence[int]]]
    """The other lanes, with the stretches in which each has a place."""


@dataclass(frozen=True)
class ListedEvent:
    """An event as the list shows it."""

    position: int
    label: str
    """What it is called: `1,204`, `900+1`."""
    row: EventSummary | None
    """Of one that was dropped, what it was."""
    mark: EditMark | None = None
    """What was done to it on the fork."""


@dataclass(frozen=True)
class TimelineView:
    """A timeline to look at, with what is asked of it once."""

    workspace: Workspace
    extent: LogExtent
    timelines: Sequence[Fork]
