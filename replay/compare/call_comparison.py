"""The calls of two timelines beside each other: what would newly be sent, no longer, or otherwise.

Calls are aligned by their event, document, port and operation; there the same request first, then
what is left in its order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from replay.compare.alignment import Aligned, Side
from replay.history import call_decisions
from replay.history.call_decisions import Decided
from replay.history.history import History
from storage.coordinates.event_labels import Label


class Change(Enum):
    """What became of a call."""

    SAME = "same"
    REQUEST = "request changed"
    RESPONSE = "response changed"
    REORDERED = "reordered"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class Pair:
    """A call of either timeline, or of both."""

    at: Label | None
    """The event that made it; None: before the first."""
    change: Change
    a: Decided | None
    b: Decided | None
    twice: bool = False
    """It is a command that the second timeline sends twice in the same words, and the first once."""

    @property
    def either(self) -> Decided:
        found = self.b or self.a
        assert found is not None  # noqa: S101 - a pair has one of them
        return found

    @property
    def headline(self) -> str:
        """What a person wants to know of it."""
        sends = self.either.kind == "command"
        if self.twice:
            return "sends twice"
        said = {
            Change.ADDED: ("would newly send", "would newly ask"),
            Change.REMOVED: ("no longer sends", "no longer asks"),
            Change.REQUEST: ("sends something else", "asks something else"),
            Change.RESPONSE: ("is answered otherwise", "is answered otherwise"),
            Change.REORDERED: ("sends in another order", "asks in another order"),
            Change.SAME: ("the same", "the same"),
        }
        return said[self.change][0 if sends else 1]


def compare(a: History, b: History) -> Iterator[Pair]:
    """The calls that differ, in the order of their events."""
    aligned = Aligned(a.workspace, b.workspace)
    one = _by_place(a, aligned.a)
    other = _by_place(b, aligned.b)
    places = sorted({*one, *other}, key=lambda place: (place[0], *map(str, place[1:])))
    for place in places:
        label = None if place[0] < 0 else aligned.label(place[0])
        for pair in _paired(label, one.get(place, []), other.get(place, [])):
            if pair.change is not Change.SAME or pair.twice:
                yield pair


_Place = tuple[int, str | None, str, str]


def _by_place(history: History, side: Side) -> dict[_Place, list[Decided]]:
    found: dict[_Place, list[Decided]] = {}
    for call in call_decisions.of_fold(history):
        at = -1 if call.offset is None or call.offset < 0 else side.coordinate(call.offset)
        found.setdefault((at, call.key, call.port, call.operation), []).append(call)
    return found


def _paired(label: Label | None, a: Sequence[Decided], b: Sequence[Decided]) -> list[Pair]:
    left = list(enumerate(a))
    right = list(enumerate(b))
    pairs: list[tuple[int, Pair]] = []
    for place, call in list(right):
        same = next((one for one in left if one[1].request == call.request), None)
        if same is None:
            continue
        left.remove(same)
        right.remove((place, call))
        change = Change.SAME
        if same[1].response != call.response:
            change = Change.RESPONSE
        elif same[0] != place and len(a) == len(b):
            change = Change.REORDERED
        pairs.append((place, Pair(label, change, same[1], call)))
    for (_, before), (place, after) in zip(left, right, strict=False):
        pairs.append((place, Pair(label, Change.REQUEST, before, after)))
    both = min(len(left), len(right))
    seen = [pair.b.request for _, pair in pairs if pair.b is not None]
    for place, call in right[both:]:
        twice = call.kind == "command" and call.request in seen
        pairs.append((place, Pair(label, Change.ADDED, None, call, twice)))
    pairs += [(place, Pair(label, Change.REMOVED, call, None)) for place, call in left[both:]]
    return [pair for _, pair in sorted(pairs, key=lambda found: found[0])]
