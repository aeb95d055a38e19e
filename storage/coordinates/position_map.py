"""Places: where events are on a timeline, and what they are called there.

A place is a 0-based number in the order of one timeline, dense but for events that were dropped, which
leave theirs empty. On `main` it is the offset. Everything above storage counts in places and calls
them offsets; what a person reads and types are labels.
"""

from dataclasses import dataclass

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import PositionError


@dataclass(frozen=True)
class EditMark:
    """What was done to the event at a place."""

    position: int
    kind: EditKind
    counterpart: Label | None
    """Of a moved event where it was; and where it has gone to, at the place that it left."""
    leaves_gap: bool = False
    """Nothing is there any more."""


class PositionMap:
    """What is where on a timeline; this one is `main`, on which every label is its own place."""

    def __init__(self, position_count: int) -> None:
        self.position_count = position_count
        """How many places there are."""

    def position_of(self, event_label: Label) -> int:
        """Where an event is, or was before it was dropped; raises `PositionError`."""
        if event_label.inserted:
            raise PositionError(
                f"{event_label} names an inserted event, and only a fork has those."
            )
        if not -1 <= event_label.offset < self.position_count:
            raise PositionError(
                f"There is no event at {event_label}; the offsets go from 0 to {self.position_count - 1:,}."
            )
        return event_label.offset

    def label_at(self, position: int) -> Label:
        """What the event at a place is called."""
        return Label(position)

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:  # noqa: ARG002 - a fork has some
        """What was edited between two places, in order."""
        return []
