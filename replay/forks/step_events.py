"""The events that one step of edits has changed so far, and which edits of one event are compatible.

A later edit of the same step starts from the event as the earlier ones left it. Two edits are refused
if one would undo the other, because every counted edit must have an effect on the fork.
"""

from collections.abc import Callable

from replay.document import paths
from replay.document.paths import DocumentPath
from storage.coordinates.event_labels import Label
from storage.errors import QueryError
from storage.timelines.edits import EditedEvent


class EventsOfStep:
    """The edited events of one step, by their positions on the edited timeline."""

    def __init__(self, label: Callable[[int], Label]) -> None:
        """`label` returns the text shown for a position."""
        self._label = label
        self._events: dict[int, EditedEvent] = {}
        self._dropped: set[int] = set()
        self._replaced: set[int] = set()
        self._moved: set[int] = set()
        self._paths: dict[int, list[DocumentPath]] = {}
        """The paths that were set, by position."""

    def event(self, place: int) -> EditedEvent | None:
        """The event as the step has left it; None if no edit has changed it."""
        return self._events.get(place)

    def drop(self, place: int) -> bool:
        """Record a drop, and return whether it is the first; raise `QueryError` if the event is edited."""
        if place in self._dropped:
            return False
        if place in self._events or place in self._moved:
            raise self._conflict(place, "both dropped and edited")
        self._dropped.add(place)
        return True

    def replace(self, place: int, event: EditedEvent) -> EditedEvent:
        """Record a replaced event; raise `QueryError` if another edit of it would be lost."""
        self.refuse_dropped(place)
        if place in self._replaced:
            raise self._conflict(place, "replaced twice")
        if place in self._paths:
            raise self._conflict(place, "replaced after one of its values was set")
        self._refuse_moved(place)
        self._replaced.add(place)
        self._events[place] = event
        return event

    def set(self, place: int, path: DocumentPath, event: EditedEvent) -> EditedEvent:
        """Record a value set at a path; raise `QueryError` if an earlier set value would be lost."""
        self.refuse_dropped(place)
        self._refuse_moved(place)
        set_paths = self._paths.setdefault(place, [])
        for earlier in set_paths:
            if [str(step) for step in earlier[: len(path)]] == [str(step) for step in path]:
                raise self._conflict(place, f"set twice at {paths.format_path(earlier)}")
        set_paths.append(path)
        self._events[place] = event
        return event

    def move(self, place: int) -> None:
        """Record a move; raise `QueryError` if the event is dropped or moved already."""
        self.refuse_dropped(place)
        self._refuse_moved(place)
        self._moved.add(place)

    def refuse_dropped(self, place: int) -> None:
        """Raise `QueryError` if the event is dropped in this step."""
        if place in self._dropped:
            raise self._conflict(place, "both dropped and edited")

    def _refuse_moved(self, place: int) -> None:
        if place in self._moved:
            raise self._conflict(place, "edited after it was moved in the same step")

    def _conflict(self, place: int, what: str) -> QueryError:
        return QueryError(
            f"The event at {self._label(place)} is {what} in one step. Remove one of the two edits, or"
            " make them one after the other with `refold edit`."
        )
