"""Positions of events on a timeline, and the labels that belong to them.

A position is a 0-based index in the order of one timeline. A dropped event leaves its position empty;
apart from these gaps, positions are dense. On `main` a position is the offset. Code above storage
computes with positions and often calls them offsets; a person reads and types labels.
"""

from dataclasses import dataclass

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import PositionError


@dataclass(frozen=True)
class EditMark:
    """An edit that shows at one position."""

    position: int
    kind: EditKind
    counterpart: Label | None
    """For a moved event, its label before the move; at the position that it left, its new label."""
    leaves_gap: bool = False
    """Whether the position is empty now."""


class PositionMap:
    """Translates labels to positions and back. This class is for `main`, where a label is its position."""

    def __init__(self, position_count: int) -> None:
        self.position_count = position_count
        """The number of positions, gaps included."""

    def position_of(self, event_label: Label) -> int:
        """Return the position of an event, also of a dropped one.

        Raises `PositionError` if the timeline has no event with this label.
        """
        if event_label.inserted:
            raise PositionError(
                f"{event_label} names an inserted event, and only forks have inserted events."
            )
        if not -1 <= event_label.offset < self.position_count:
            raise PositionError(
                f"There is no event at {event_label}; the offsets go from 0 to {self.position_count - 1:,}."
            )
        return event_label.offset

    def label_at(self, position: int) -> Label:
        """Return the label of the event at a position."""
        return Label(position)

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:  # noqa: ARG002 - forks have edits
        """Return the edits between two positions, both included, in order of position."""
        return []
