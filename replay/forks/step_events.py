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


class StepEvents:
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

    def event(self, position: int) -> EditedEvent | None:
        """The event as the step has left it; None if no edit has changed it."""
        return self._events.get(position)

    def drop(self, position: int) -> bool:
        """Record a drop, and return whether it is the first; raise `QueryError` if the event is edited."""
        if position in self._dropped:
            return False
        if position in self._events or position in self._moved:
            raise self._conflict(position, "both dropped and edited")
        self._dropped.add(position)
        return True

    def replace(self, position: int, event: EditedEvent) -> EditedEvent:
        """Record a replaced event; raise `QueryError` if another edit of it would be lost."""
        self.refuse_dropped(position)
        if position in self._replaced:
            raise self._conflict(position, "replaced twice")
        if position in self._paths:
            raise self._conflict(position, "replaced after one of its values was set")
        self._refuse_moved(position)
        self._replaced.add(position)
        self._events[position] = event
        return event

    def set(self, position: int, path: DocumentPath, event: EditedEvent) -> EditedEvent:
        """Record a value set at a path; raise `QueryError` if an earlier set value would be lost."""
        self.refuse_dropped(position)
        self._refuse_moved(position)
        set_paths = self._paths.setdefault(position, [])
        for earlier in set_paths:
            if [str(step) for step in earlier[: len(path)]] == [str(step) for step in path]:
                raise self._conflict(position, f"set twice at {paths.format_path(earlier)}")
        set_paths.append(path)
        self._events[position] = event
        return event

    def move(self, position: int) -> None:
        """Record a move; raise `QueryError` if the event is dropped or moved already."""
        self.refuse_dropped(position)
        self._refuse_moved(position)
        self._moved.add(position)

    def refuse_dropped(self, position: int) -> None:
        """Raise `QueryError` if the event is dropped in this step."""
        if position in self._dropped:
            raise self._conflict(position, "both dropped and edited")

    def _refuse_moved(self, position: int) -> None:
        if position in self._moved:
            raise self._conflict(position, "edited after it was moved in the same step")

    def _conflict(self, position: int, what: str) -> QueryError:
        return QueryError(
            f"The event at {self._label(position)} is {what} in one step. Remove one of the two edits, or"
            " make them one after the other with `refold edit`."
        )
