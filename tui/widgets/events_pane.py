"""The event list: offset, stream, type; with a filter, only the matching events."""

from collections.abc import Callable, Iterable, Sequence

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.offset_set import Offsets, contains_offset, count_through, pack_offsets
from storage.log.positions import START
from tui.state.timeline_view import ListedEvent
from tui.text.sanitize import fit_width, shorten
from tui.text.span import Span
from tui.widgets.paged_list import PagedList
from tui.widgets.row_pages import Fetch

_LONGEST = 200
_SIGNS = {
    EditKind.INSERT: ("+", "added"),
    EditKind.REPLACE: ("~", "changed"),
    EditKind.MOVE: (">", "added"),
    EditKind.DROP: ("-", "removed"),
}
"""Sign and style of an edited event."""


class EventsPane(PagedList[ListedEvent]):
    """One row per event; the cursor shows the position."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="events")
        self._offsets: Offsets[int] | None = None
        self._matches: Offsets[int] = pack_offsets()
        self._digits = 1

    def show_all(self, count: int, fetch: Fetch[ListedEvent]) -> None:
        """Show all events of the timeline; `fetch` returns them from a first offset."""
        self._offsets = None
        self._digits = len(f"{max(count - 1, 0):,}")
        self.show_rows(fetch)
        self.line_count = count
        self.subtitle = ""

    def show_only(
        self,
        found: "Offsets[int]",
        what: str,
        fetch_at: Callable[[Sequence[int]], Sequence[ListedEvent]],
    ) -> None:
        """Show only these events, with the filter's text in the subtitle."""
        self._offsets = found
        self.show_rows(lambda first, count: fetch_at(found[first : first + count].tolist()))
        self.line_count = len(found)
        self.subtitle = f"{shorten(what, 40)}: {len(found):,}"

    def mark_matches(self, matches: "Offsets[int]") -> None:
        """Mark the events that a search found."""
        self._matches = matches
        self.refresh()

    def move_cursor_to(self, position: int) -> None:
        """Put the cursor on the position; with a filter, on the last event at or before it."""
        if self._offsets is None:
            self.cursor = position if position != START else -1
        else:
            self.cursor = count_through(self._offsets, position) - 1

    def offset_of(self, line: int) -> int:
        """Return the position of the event on a line."""
        return line if self._offsets is None else int(self._offsets[line])

    def row_spans(self, line: int, row: ListedEvent) -> Iterable[Span]:  # noqa: ARG002 - by contract
        sign, style = ("●", "match") if contains_offset(self._matches, row.position) else (" ", "")
        under = ""
        if row.mark is not None:
            sign, under = _SIGNS[row.mark.kind]
            style = under
            if row.mark.leaves_gap:
                sign, style, under = "-", "removed", "removed"
        yield (sign, style)
        yield (f"{row.label:>{self._digits}} ", "muted")
        event = row.row
        if event is None:
            yield ("dropped", "muted")
            return
        width = max(self.size.width - self._digits - 4, 10)
        stream = event.stream or "–"
        room = min(max(width // 2, 9), 18)
        yield (f"{fit_width(stream, room)} ", under or "key")
        yield (shorten(event.type or "–", _LONGEST), under)
