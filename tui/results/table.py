"""Result tables: the answer to a query that finds many positions.

Every row has an offset, so selecting it moves to that event. Rows are fetched when they come into
view. Nothing here queries the workspace on the screen's thread.
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
    from tui.state.shown_data import ShownData

MAX_ROWS = 200_000
"""Rows of a table; for more, the person must narrow the condition."""
EVENT_COLUMNS = 24
"""Columns of a document's key, and of an event's type."""

MAX_TEXT = 200
"""Characters of a value in a row."""


@dataclass(frozen=True)
class ResultRow:
    """One row: a position, and the text shown for it."""

    offset: int
    spans: tuple[Span, ...]
    key: str | None = None
    """The document to select there."""
    path: DocumentPath | None = None
    """The value to select in the document."""
    keeps_document: bool = False
    """Pin the document, because the event may have changed other documents."""
    bookmark: int | None = None
    """The number of the bookmark that the row shows."""


@dataclass(frozen=True)
class ResultTable:
    """The rows of a result, with title and note."""

    title: str
    """Title of the pane, such as `changes of order-17 › total`."""
    offsets: "Offsets[int]"
    """The offset of each row; ascending except in a tree."""
    fetch: Callable[[int, int], Sequence[ResultRow]]
    """Returns rows for (first row, count); called in a thread."""
    watch: tuple[str, str] | None = None
    """Scope and condition to watch; None if the result can't be watched."""
    note: str = ""
    """Note in the subtitle, such as that rows are left out or that the query still runs."""
    is_growing: bool = False
    steps: "Offsets[int]" = field(default_factory=pack_offsets)
    """The distinct offsets, ascending: the matches for n and N."""
    rows: Sequence[ResultRow] | None = None
    """All rows, if they are in memory; then `fetch` is not needed."""

    def matches(self) -> SearchMatches:
        """Return the matches that n and N go through."""
        return SearchMatches(self.title, self.steps)

    def line_at(self, position: int) -> int:
        """Return the row at a position, or the last one before it; -1 before the first row."""
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
    """Return a table of rows that are all in memory."""
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
    """Return a value as text for a row."""
    return "–" if value is ABSENT else encode_value(value)[: MAX_TEXT + 1]


def event_span(data: "ShownData", offset: int) -> Span:
    """Return the label of an event, padded to the width of the log's last offset."""
    return f" {data.position_label(offset):>{len(f'{data.extent.event_count:,}')}}  ", "muted"


def document_span(key: str) -> Span:
    """Return a document's key, cut or padded to a fixed width."""
    return f"{shorten(key, EVENT_COLUMNS):<{EVENT_COLUMNS}}  ", "key"


def truncation_note(found: int, most: int) -> str:
    """Return the note for a truncated table; empty if all rows are shown."""
    return f"first {most:,} only" if found > most else ""
