"""The prompts, and the answers to those that ask for a position, matches, a filter or a document.

Queries run in a thread and return a value; errors are one or two sentences for the person.
"""

from dataclasses import dataclass

from replay.query import event_filter
from storage.coordinates.offset_set import Offsets, count_before, count_through
from storage.errors import QueryError
from storage.log import positions
from tui.state.shown_data import ShownData

PROMPTS = {
    "goto": ("go to", positions.POSITION_FORMS),
    "search": ("search", "text in type, stream, id or data"),
    "filter": (
        "filter",
        "text, or a condition: type = 'OrderPlaced'; empty: show all events",
    ),
    "document": ("document", "part of a key"),
    "when": (
        "find when",
        "state.total < 0, or sum(state.total) > 1000; ! first: when it ended",
    ),
    "log": (
        "logpoint",
        "RefundIssued: data.amount, state.paid if state.paid < 10",
    ),
    "values": ("plot", "state.total, sum(state.total): separated by commas"),
    "answer": ("answer for the missing call", "JSON"),
    "assign": ("link to this event: call", "the number of an imported call"),
    "fork": ("name the fork", "such as what-if-1"),
    "move": ("move to after", positions.POSITION_FORMS),
    "set": ("set", "amount = 0 (a path in the event's data), or type = Refunded"),
    "drop": ("drop all events where", "type = 'OrderPlaced' AND data.total > 100"),
    "join": ("name the merged fork", "it gets the edits of both forks"),
    "resolve": ("resolve the conflict with", "a, b, base, joined, merged, or JSON"),
    "override": ("override the response with", "JSON; applies on a fork"),
    "note": ("bookmark note", "what to remember about this position"),
}
"""By purpose: the label before the prompt, and the placeholder in it."""

ANSWERED_PROMPTS = ("goto", "search", "filter", "document")
"""Purposes that `answer_prompt` answers."""


@dataclass(frozen=True)
class PositionAnswer:
    """A position to go to."""

    position: int


@dataclass(frozen=True)
class SearchMatches:
    """The matches of a search; after the last match comes the first again."""

    text: str
    offsets: "Offsets[int]"

    def step(self, position: int, direction: int, times: int = 1) -> int:
        """Return the match that is `times` matches after a position (`direction` > 0) or before it."""
        place = (
            count_through(self.offsets, position) - 1 if direction > 0 else self._before(position)
        )
        return int(self.offsets[(place + direction * times) % len(self.offsets)])

    def first_match_from(self, position: int) -> int:
        """Return the first match at a position or after it."""
        return int(self.offsets[self._before(position) % len(self.offsets)])

    def _before(self, position: int) -> int:
        return count_before(self.offsets, position)


@dataclass(frozen=True)
class ListFilter:
    """The events that pass the filter."""

    text: str
    offsets: "Offsets[int]"

    def nearest_offset(self, position: int) -> int:
        """Return the last filtered event at or before the position; without one, the first."""
        return int(self.offsets[max(count_through(self.offsets, position) - 1, 0)])

    def step(self, position: int, events: int) -> int | None:
        """Return the position a number of filtered events away, or the last one on that side.

        None: before the first filtered event there is nothing to go back to.
        """
        line = count_through(self.offsets, position) - 1
        target = line + events
        if events < 0 and line >= 0 and self.offsets[line] < position:
            target += 1  # between two filtered events, the line is that of the previous one
        target = min(target, len(self.offsets) - 1)
        return int(self.offsets[target]) if target >= 0 else None


@dataclass(frozen=True)
class DocumentAnswer:
    """A document to select."""

    key: str


PromptAnswer = PositionAnswer | SearchMatches | ListFilter | DocumentAnswer


def answer_prompt(data: ShownData, purpose: str, text: str) -> PromptAnswer:
    """Return the answer to the text typed at a prompt.

    Raises a `RefoldError` if the text is invalid or nothing matches.
    """
    if purpose == "goto":
        return PositionAnswer(positions.resolve_position(data.workspace, text))
    if purpose == "search":
        matches = SearchMatches(text, data.log.find_containing(text))
        if not matches.offsets:
            raise QueryError(f"No event contains {text!r}.")
        return matches
    if purpose == "filter":
        wanted = ListFilter(text, event_filter.find_offsets(data.workspace, text))
        if not wanted.offsets:
            raise QueryError(f"No event matches {text!r}.")
        return wanted
    return _document(data, text)


def _document(data: ShownData, text: str) -> DocumentAnswer:
    history = data.history
    if history is None:
        raise QueryError("No documents without a projection. Start refold with one: -p FILE.")
    if history.ordinal_of(text) is not None:
        return DocumentAnswer(text)
    similar = history.keys_containing(text, 1)
    if not similar:
        raise QueryError(f"No document key contains {text!r}.")
    return DocumentAnswer(similar[0].key)
