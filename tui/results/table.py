"""Tables of what was found: one for every question whose answer is many places in the log.

A row stands at an offset, so moving to it moves time; rows beyond what is shown are fetched when
they are seen. Nothing here asks on the screen's thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replay.document.diff import encode
from replay.document.paths import ABSENT, Path
from storage.coordinates.offset_set import Offsets, offsets, place_after
from tui.results.prompt_queries import Matches
from tui.text.sanitize import shortened
from tui.text.span import Span

if TYPE_CHECKING:
    from tui.state.session import Model

MOST = 200_000
"""Rows of a table; more of them nobody reads, and the condition wants to be sharper."""
NAME = 24
"""Columns of a document's key, and of an event's type."""

LONGEST = 200
"""Characters of a value in a row."""


@dataclass(frozen=True)
class Finding:
    """A row: a place, and what is said about it."""

    offset: int
    spans: tuple[Span, ...]
    key: str | None = None
    """The document to look at there."""
    path: Path | None = None
    """The value in it."""
    pinned: bool = False
    """The event may have changed other documents, so the key is to be stayed with."""
    kept: int | None = None
    """The bookmark that it stands for."""


@dataclass(frozen=True)
class Findings:
    """What a question found."""

    what: str
    """`who changed order-17 › total`"""
    at: "Offsets[int]"
    """The offset of each row; ascending, but for a tree."""
    fetch: Callable[[int, int], Sequence[Finding]]
    """(first row, how many) to rows; called in a thread."""
    watch: tuple[str, str] | None = None
    """What can be watched: what it is over, and the condition."""
    note: str = ""
    """What a person must know: that there are more, that it is still going on."""
    going_on: bool = False
    steps: "Offsets[int]" = field(default_factory=offsets)
    """Each offset once, ascending."""
    rows: Sequence[Finding] | None = None
    """All of them, where they are at hand."""

    def matches(self) -> Matches:
        """To go through with n and N."""
        return Matches(self.what, self.steps)

    def line_at(self, position: int) -> int:
        """The row that stands at a position, or the last before it; -1 before the first."""
        if len(self.steps) == len(self.at) and self.at == self.steps:
            return place_after(self.at, position) - 1
        return self.at.index(position) if position in self.at else -1


def listed(
    what: str,
    rows: Sequence[Finding],
    *,
    watch: tuple[str, str] | None = None,
    note: str = "",
    going_on: bool = False,
) -> Findings:
    """A table of rows that are all at hand."""
    kept = tuple(rows)
    at = offsets(row.offset for row in kept)
    return Findings(
        what,
        at,
        lambda first, count: kept[first : first + count],
        watch,
        note,
        going_on,
        offsets(sorted(set(at))),
        kept,
    )


def shown(value: object) -> str:
    """A value in a row."""
    return "–" if value is ABSENT else encode(value)[: LONGEST + 1]


def at_event(model: "Model", offset: int) -> Span:
    """What an event is called, as wide as the last one of the log."""
    return f" {model.shown(offset):>{len(f'{model.extent.events:,}')}}  ", "muted"


def of_document(key: str) -> Span:
    """A document's key, with the columns that all have."""
    return f"{shortened(key, NAME):<{NAME}}  ", "key"


def cut_note(found: int, most: int) -> str:
    """What to say where not all are shown."""
    return f"the first {most:,} are shown" if found > most else ""
