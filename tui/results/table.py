"""Tables of what was found: one for every question whose answer is many places in the log.

A row stands at an offset, so moving to it moves time; rows beyond what is shown are fetched when
they are seen. Nothing here asks on the screen's thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replay.document.diff import encode_value
from replay.document.paths import ABSENT, DocumentPath
from storage.coordinates.offset_set import Offsets, count_through, pack_offsets
from tui.results.prompt_queries import SearchMatches
from tui.text.sanitize import shorten
from tui.text.span import Span

if TYPE_CHECKING:
    from tui.state.session import Session

MAX_ROWS = 200_000
"""Rows of a table; more of them nobody reads, and the condition wants to be sharper."""
EVENT_COLUMNS = 24
"""Columns of a document's key, and of an event's type."""

MAX_TEXT = 200
"""Characters of a value in a row."""


@dataclass(frozen=True)
class ResultRow:
    """A row: a place, and what is said about it."""

    offset: int
    spans: tuple[Span, ...]
    key: str | None = None
    """The document to look at there."""
    path: DocumentPath | None = None
    """The value in it."""
    keeps_document: bool = False
    """The event may have changed other documents, so the key is to be stayed with."""
    bookmark: int | None = None
    """The bookmark that it stands for."""


@dataclass(frozen=True)
class ResultTable:
    """What a question found."""

    title: str
    """`who changed order-17 › total`"""
    offsets: "Offsets[int]"
    """The offset of each row; ascending, but for a tree."""
    fetch: Callable[[int, int], Sequence[ResultRow]]
    """(first row, how many) to rows; called in a thread."""
    watch: tuple[str, str] | None = None
    """What can be watched: what it is over, and the condition."""
    note: str = ""
    """What a person must know: that there are more, that it is still going on."""
    is_growing: bool = False
    steps: "Offsets[int]" = field(default_factory=pack_offsets)
    """Each offset once, ascending."""
    rows: Sequence[ResultRow] | None = None
    """All of them, where they are at hand."""

    def matches(self) -> SearchMatches:
        """To go through with n and N."""
        return SearchMatches(self.title, self.steps)

    def line_at(self, position: int) -> int:
        """The row that stands at a position, or the last before it; -1 before the first."""
        if len(self.steps) == len(self.offsets) and self.offsets == self.steps:
            return count_through(self.offsets, position) - 1
        return self.offsets.index(position) if position in self.offsets else -1


def table_of_rows(
    what: str,
    rows: Sequence[ResultRow],
    *,
    watch: tuple[str, str] | None = None,
    note: str = "",
    going_on: bool = False,
) -> ResultTable:
    """A table of rows that are all at hand."""
    kept = tuple(rows)
    at = pack_offsets(row.offset for row in kept)
    return ResultTable(
        what,
        at,
        lambda first, count: kept[first : first + count],
        watch,
        note,
        going_on,
        pack_offsets(sorted(set(at))),
        kept,
    )


def value_text(value: object) -> str:
    """A value in a row."""
    return "–" if value is ABSENT else encode_value(value)[: MAX_TEXT + 1]


def event_span(model: "Session", offset: int) -> Span:
    """What an event is called, as wide as the last one of the log."""
    return f" {model.position_label(offset):>{len(f'{model.extent.event_count:,}')}}  ", "muted"


def document_span(key: str) -> Span:
    """A document's key, with the columns that all have."""
    return f"{shorten(key, EVENT_COLUMNS):<{EVENT_COLUMNS}}  ", "key"


def truncation_note(found: int, most: int) -> str:
    """What to say where not all are shown."""
    return f"the first {most:,} are shown" if found > most else ""
