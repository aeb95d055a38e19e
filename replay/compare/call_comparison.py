"""Comparison of the calls of two timelines: which are new, missing or different.

Calls are matched by event, document, port and operation; among these first by equal requests, then the
remaining ones in their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from replay.compare.alignment import AlignedSide, AlignedTimelines
from replay.history import call_decisions
from replay.history.call_decisions import CallDecision
from replay.history.history import History
from storage.coordinates.event_labels import Label


class CallChange(Enum):
    """How a call differs between the two timelines."""

    SAME = "same"
    REQUEST = "request changed"
    RESPONSE = "response changed"
    REORDERED = "reordered"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class CallPair:
    """A call of one timeline or of both."""

    label: Label | None
    """The event that made it; None: before the first event."""
    change: CallChange
    a: CallDecision | None
    b: CallDecision | None
    is_sent_twice: bool = False
    """Whether it repeats a command with the same request that the first timeline sends only once."""

    @property
    def either(self) -> CallDecision:
        found = self.b or self.a
        assert found is not None  # noqa: S101 - a pair has one of them
        return found

    @property
    def headline(self) -> str:
        """The difference in a few words, such as "would newly send"."""
        sends = self.either.kind == "command"
        if self.is_sent_twice:
            return "sends twice"
        headlines = {
            CallChange.ADDED: ("would newly send", "would newly ask"),
            CallChange.REMOVED: ("no longer sends", "no longer asks"),
            CallChange.REQUEST: ("sends something else", "asks something else"),
            CallChange.RESPONSE: ("overridden", "overridden"),
            CallChange.REORDERED: ("sends in another order", "asks in another order"),
            CallChange.SAME: ("the same", "the same"),
        }
        return headlines[self.change][0 if sends else 1]


def compare_calls(a: History, b: History) -> Iterator[CallPair]:
    """Yield the calls that differ, in the order of their events."""
    aligned = AlignedTimelines(a.workspace, b.workspace)
    calls_a = _calls_by_place(a, aligned.a)
    calls_b = _calls_by_place(b, aligned.b)
    call_places = sorted({*calls_a, *calls_b}, key=lambda place: (place[0], *map(str, place[1:])))
    for place in call_places:
        label = None if place[0] < 0 else aligned.label_at(place[0])
        for pair in _pair_calls(label, calls_a.get(place, []), calls_b.get(place, [])):
            if pair.change is not CallChange.SAME or pair.is_sent_twice:
                yield pair


_CallPlace = tuple[int, str | None, str, str]


def _calls_by_place(history: History, side: AlignedSide) -> dict[_CallPlace, list[CallDecision]]:
    found: dict[_CallPlace, list[CallDecision]] = {}
    for call in call_decisions.read_fold_decisions(history):
        at = -1 if call.offset is None or call.offset < 0 else side.coordinate_of(call.offset)
        found.setdefault((at, call.key, call.port, call.operation), []).append(call)
    return found


def _pair_calls(
    label: Label | None, a: Sequence[CallDecision], b: Sequence[CallDecision]
) -> list[CallPair]:
    left = list(enumerate(a))
    right = list(enumerate(b))
    pairs: list[tuple[int, CallPair]] = []
    for index, call in list(right):
        same = next((one for one in left if one[1].request == call.request), None)
        if same is None:
            continue
        left.remove(same)
        right.remove((index, call))
        change = CallChange.SAME
        if same[1].response != call.response:
            change = CallChange.RESPONSE
        elif same[0] != index and len(a) == len(b):
            change = CallChange.REORDERED
        pairs.append((index, CallPair(label, change, same[1], call)))
    for (_, before), (index, after) in zip(left, right, strict=False):
        pairs.append((index, CallPair(label, CallChange.REQUEST, before, after)))
    both = min(len(left), len(right))
    sent_requests = [pair.b.request for _, pair in pairs if pair.b is not None]
    for index, call in right[both:]:
        twice = call.kind == "command" and call.request in sent_requests
        pairs.append((index, CallPair(label, CallChange.ADDED, None, call, twice)))
    pairs += [
        (place, CallPair(label, CallChange.REMOVED, call, None)) for place, call in left[both:]
    ]
    return [pair for _, pair in sorted(pairs, key=lambda found: found[0])]
