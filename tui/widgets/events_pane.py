"""The events: offset, stream, type. Filtered, it shows the events that match and keeps their offsets."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from storage.log import EventRow
from storage.positions import START
from tui.model import Model
from tui.widgets.line_view import Span
from tui.widgets.paged_list import PagedList


class EventsPane(PagedList[EventRow]):
    """A row an event; the cursor is the position."""

    BORDER_TITLE = "events"

    def __init__(self, model: Model, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(model.event_rows, id=id)
        self._model = model
        self._offsets: npt.NDArray[np.int64] | None = None
        self._matches: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._digits = 1

    def show_all(self, count: int) -> None:
        """All events of the log."""
        self._offsets = None
        self._digits = len(f"{max(count - 1, 0):,}")
        self.forget(self._model.event_rows)
        self.line_count = count
        self.border_subtitle = ""

    def show_only(self, offsets: npt.NDArray[np.int64], what: str) -> None:
        """Only these events."""
        self._offsets = offsets
        self.forget(self._filtered)
        self.line_count = len(offsets)
        self.border_subtitle = f"{what}: {len(offsets):,}"

    def mark(self, matches: npt.NDArray[np.int64]) -> None:
        """Show which events a search found."""
        self._matches = matches
        self.refresh()

    def stand_at(self, position: int) -> None:
        """Put the cursor on the position; in a filtered list on the last event before it."""
        if self._offsets is None:
            self.cursor = position if position != START else -1
        else:
            self.cursor = int(np.searchsorted(self._offsets, position, side="right")) - 1

    def offset_of(self, line: int) -> int:
        """The offset of the event on a line."""
        return line if self._offsets is None else int(self._offsets[line])

    def row_spans(self, line: int, row: EventRow) -> Iterable[Span]:  # noqa: ARG002 - by contract
        here = np.searchsorted(self._matches, row.offset)
        found = here < len(self._matches) and self._matches[here] == row.offset
        yield ("●" if found else " ", "match")
        yield (f"{row.offset:>{self._digits},} ", "muted")
        width = max(self.size.width - self._digits - 4, 10)
        stream = row.stream or "–"
        room = min(max(width // 2, 9), 18)
        yield (f"{_fit(stream, room)} ", "key")
        yield (row.type or "–", "")

    def _filtered(self, first: int, count: int) -> Sequence[EventRow]:
        offsets = self._offsets
        if offsets is None:
            return self._model.event_rows(first, count)
        return self._model.log.rows_at(offsets[first : first + count].tolist())


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
