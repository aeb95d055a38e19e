"""Snapshots: what the screen shows at a position. Queried in a thread, immutable.

A `Snapshot` holds what every step must show; `LateDetails` follow when the position has settled.
"""

from dataclasses import dataclass
from typing import Any

from replay.document.diff import Difference
from replay.history.call_decisions import CallDecision
from replay.history.catalogue import FoldRecord
from replay.history.changes import DocumentSnapshot
from replay.history.fold_reports import Failure, UpcastRecord
from replay.history.recorded_calls import SimilarRecording
from storage.log.event_log import EventDetail


@dataclass(frozen=True)
class Snapshot:
    """Everything about one position that changes with each step."""

    position: int
    event: EventDetail | None
    """The event that the position stands after; None at the start."""
    changed_keys: tuple[str, ...]
    """Documents that the event changed."""
    key: str | None
    """The selected document."""
    moment: DocumentSnapshot | None
    value: Any
    """The document's value; `ABSENT` if it doesn't exist."""
    differences: tuple[Difference, ...]
    """Differences of the selected document to the base; by default, what this event changed."""
    failures: tuple[Failure, ...]
    """Errors that handlers raised at this event."""
    printed: str
    """What its handlers printed."""
    calls: tuple[CallDecision, ...]
    """Outside calls of its handlers, including blocked ones."""
    reads: tuple[str, ...]
    """Clocks and random numbers that its handlers read."""
    nearest_recordings: tuple[SimilarRecording, ...]
    """Recordings similar to a missed call."""
    upcast: UpcastRecord | None
    """The event as the handler received it, if it was upcast."""
    fold_record: FoldRecord | None
    """How far the projection is folded that the states come from; None without a projection."""
    base: int | None
    """The position that differences refer to; None: the previous event."""
    label: str
    """The position as shown: `1,204`, `900+1`."""
    base_label: str
    """The base as shown; empty without a base."""

    @property
    def has_states(self) -> bool:
        """Whether the position is folded."""
        return self.fold_record is not None and self.fold_record.has_states_at(self.position)


@dataclass(frozen=True)
class LateDetails:
    """Details of a snapshot that may arrive a moment later."""

    position: int
    key: str | None
    ordinal: int | None
    """Index of the selected document among all, in order of creation."""
    next_change: int | None
    documents: int
    """Number of documents created up to the position."""
