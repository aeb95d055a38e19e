"""Seekers: the next or previous event of a stream, change of a document or value, or failure."""

from collections.abc import Callable
from dataclasses import dataclass

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.query import blame
from storage.coordinates.offset_set import count_before, count_through
from storage.log.positions import START
from tui.state.shown_data import ShownData


@dataclass(frozen=True)
class Seeker:
    """Finds the next position of one kind."""

    noun: str
    """What is sought, such as `next change of order-17`."""
    find: Callable[[int], int | None]

    def seek(self, position: int, times: int, *, enough: Callable[[], bool]) -> int | None:
        """Return the position `times` finds away, or the last one found; None if there is none.

        Stops early if `enough` returns true.
        """
        found = None
        for _ in range(times):
            ahead = None if enough() else self.find(position)
            if ahead is None:
                break
            found = position = ahead
        return found


def stream_seeker(data: ShownData, position: int, way: int) -> Seeker | None:
    """Seek in the stream of the event at a position; None if the event has no stream."""
    event = data.log.read_event(position)
    if event is None or event.stream is None:
        return None
    stream = event.stream
    find = data.log.find_next_in_stream if way > 0 else data.log.find_previous_in_stream
    which = "next" if way > 0 else "earlier"
    return Seeker(f"{which} event of {stream}", lambda at: find(stream, at))


def change_seeker(data: ShownData, key: str | None, way: int) -> Seeker | None:
    """Seek in the changes of a document; None without a history or document."""
    history = data.history
    if history is None or key is None:
        return None
    find = history.next_change if way > 0 else history.previous_change
    which = "next" if way > 0 else "earlier"
    return Seeker(f"{which} change of {key}", lambda at: find(key, at))


def value_change_seeker(
    data: ShownData, key: str | None, path: DocumentPath, way: int
) -> Seeker | None:
    """Seek in the changes of one value of a document; None without a history or document."""
    history = data.history
    if history is None or key is None:
        return None

    def find(position: int) -> int | None:
        bounds = (START, position - 1) if way < 0 else (position, data.extent.event_count)
        found = blame.find_value_changes(
            history, key, path, after=bounds[0], until=bounds[1], backwards=way < 0
        )
        return next((touch.offset for touch in found), None)

    which = "later" if way > 0 else "earlier"
    return Seeker(f"{which} change of {key} › {paths.format_path(path)}", find)


def failure_seeker(data: ShownData, way: int) -> Seeker | None:
    """Seek in the events at which a handler raised; None without a history."""
    if data.history is None:
        return None
    found = data.history.failure_offsets()

    def find(position: int) -> int | None:
        place = count_through(found, position) if way > 0 else count_before(found, position) - 1
        return found[place] if 0 <= place < len(found) else None

    return Seeker("next handler error" if way > 0 else "earlier handler error", find)
