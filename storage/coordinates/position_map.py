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
class Mark:
    """What was done to the event at a place."""

    place: int
    kind: EditKind
    other: Label | None
    """Of a moved event where it was; and where it has gone to, at the place that it left."""
    leaves_a_gap: bool = False
    """Nothing is there any more."""


class Overlay:
    """What is where on a timeline; this one is `main`, on which every label is its own place."""

    def __init__(self, events: int) -> None:
        self.events = events
        """How many places there are."""

    def place(self, label: Label) -> int:
        """Where an event is, or was before it was dropped; raises `PositionError`."""
        if label.inserted:
            raise PositionError(f"{label} names an inserted event, and only a fork has those.")
        if not -1 <= label.offset < self.events:
            raise PositionError(
                f"There is no event at {label}; the offsets go from 0 to {self.events - 1:,}."
            )
        return label.offset

    def label(self, place: int) -> Label:
        """What the event at a place is called."""
        return Label(place)

    def marks(self, first: int, last: int) -> list[Mark]:  # noqa: ARG002 - a fork has some
        """What was edited between two places, in order."""
        return []
