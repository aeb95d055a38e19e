"""What a person looks for by typing: a position, the matches of a search, a filter, a document.

Asked in a thread and answered with a value; an error says in one sentence what is wrong.
"""

from dataclasses import dataclass

from replay.query import event_filter
from storage.coordinates.offset_set import Offsets, count_before, count_through
from storage.errors import QueryError
from storage.log import positions
from tui.state.session import Session

PROMPTS = {
    "goto": ("go to", positions.POSITION_FORMS),
    "search": ("search", "text in type, stream, id or data"),
    "filter": (
        "filter",
        "text, or a condition: type = 'OrderPlaced' AND data.total > 100; empty shows all",
    ),
    "document": ("document", "part of a key"),
    "when": (
        "when",
        "state.total < 0, or sum(state.total) > 1000; with ! before it: when it ended",
    ),
    "log": (
        "log",
        "RefundIssued: data.amount, state.paid - with if behind it: … if state.paid < 10",
    ),
    "values": ("values", "state.total, or sum(state.total) of all documents; several with commas"),
    "answer": ("answer", "JSON that answers the call that was missed, from now on"),
    "assign": ("assign", "the number of an imported call, which the event here is to have made"),
    "fork": ("fork as", "a name for the what-if timeline"),
    "move": ("move it to after", positions.POSITION_FORMS),
    "set": ("set", "amount = 0, a path into the event's data; or type = Refunded"),
    "drop": ("drop all events where", "type = 'OrderPlaced' AND data.total > 100"),
    "join": ("join as", "a name for the timeline that has the edits of both"),
    "resolve": ("this document is", "a, b, base, joined, merged, or JSON"),
    "otherwise": ("answer otherwise", "JSON; this call is answered so on a fork"),
    "note": ("note", "what is worth remembering here"),
}
"""By purpose: what stands before the prompt, and what may be typed."""

ANSWERED_PROMPTS = ("goto", "search", "filter", "document")
"""Purposes whose answer is a place, a document, or events to go through."""


@dataclass(frozen=True)
class PositionAnswer:
    """A position to go to."""

    position: int


@dataclass(frozen=True)
class SearchMatches:
    """What a search found. Going through it, after the last match comes the first."""

    text: str
    offsets: "Offsets[int]"

    def step(self, position: int, way: int, times: int = 1) -> int:
        """The match so many after a position, or before it."""
        place = count_through(self.offsets, position) - 1 if way > 0 else self._before(position)
        return int(self.offsets[(place + way * times) % len(self.offsets)])

    def first_match_from(self, position: int) -> int:
        """The first match at a position or after it."""
        return int(self.offsets[self._before(position) % len(self.offsets)])

    def _before(self, position: int) -> int:
        return count_before(self.offsets, position)


@dataclass(frozen=True)
class ListFilter:
    """The only events that the list is to show."""

    text: str
    offsets: "Offsets[int]"

    def nearest_offset(self, position: int) -> int:
        """The last of the events that isn't after the position; else the first of them."""
        return int(self.offsets[max(count_through(self.offsets, position) - 1, 0)])


@dataclass(frozen=True)
class DocumentAnswer:
    """A document to look at."""

    key: str


PromptAnswer = PositionAnswer | SearchMatches | ListFilter | DocumentAnswer


def answer_prompt(model: Session, purpose: str, text: str) -> PromptAnswer:
    """The answer to what was typed at a prompt; raises a `RefoldError` where there is none."""
    if purpose == "goto":
        return PositionAnswer(positions.resolve_position(model.workspace, text))
    if purpose == "search":
        matches = SearchMatches(text, model.log.find_containing(text))
        if not matches.offsets:
            raise QueryError(f"No event contains {text!r}.")
        return matches
    if purpose == "filter":
        wanted = ListFilter(text, event_filter.find_offsets(model.workspace, text))
        if not wanted.offsets:
            raise QueryError(f"No event matches {text!r}.")
        return wanted
    return _document(model, text)


def _document(model: Session, text: str) -> DocumentAnswer:
    history = model.history
    if history is None:
        raise QueryError("There are no documents without a projection; name one with -p.")
    if history.ordinal_of(text) is not None:
        return DocumentAnswer(text)
    similar = history.keys_containing(text, 1)
    if not similar:
        raise QueryError(f"No document has {text!r} in its key.")
    return DocumentAnswer(similar[0].key)
