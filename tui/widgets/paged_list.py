"""A list whose rows are fetched in pages by threads; it keeps only a few pages in memory.

A row is drawn as a placeholder until its page arrives.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from textual import events
from textual.message import Message
from textual.widget import Widget

from storage.errors import RefoldError
from tui.text.span import Span
from tui.widgets.line_view import LineView

PAGE_ROWS = 256
_KEPT = 16

Row = TypeVar("Row")
Fetch = Callable[[int, int], Sequence[Row]]
"""Returns rows for (first row, count); called in a thread."""


class PagedList(LineView, Generic[Row]):
    """A list of rows by number, fetched page by page."""

    class Picked(Message):
        """The person selected a row."""

        def __init__(self, sender: "PagedList[Row]", line: int) -> None:
            super().__init__()
            self.sender = sender
            self.line = line

        @property
        def control(self) -> Widget:
            return self.sender

    def __init__(self, *, id: str | None = None, title: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title=title)
        self._fetch: Fetch[Row] = _fetch_nothing
        self._pages: OrderedDict[int, Sequence[Row]] = OrderedDict()
        self._asked: set[int] = set()
        self._generation = 0

    def row_spans(self, line: int, row: Row) -> Iterable[Span]:
        """Return the text of a row."""
        raise NotImplementedError

    def clear_pages(self, fetch: Fetch[Row] | None = None) -> None:
        """Drop all pages because the rows have changed; `fetch` replaces the source of rows."""
        if fetch is not None:
            self._fetch = fetch
        self._generation += 1
        self._pages.clear()
        self._asked.clear()
        self.refresh()

    def row(self, line: int) -> Row | None:
        """Return a row; if its page isn't in memory, request the page and return None."""
        number, place = divmod(line, PAGE_ROWS)
        page = self._pages.get(number)
        if page is None:
            self._request_page(number)
            return None
        self._pages.move_to_end(number)
        # Near the end of a page, request the next one in advance.
        if place > PAGE_ROWS - 64 and line + 64 < self.line_count:
            self._request_page(number + 1)
        if place < 64 and number:
            self._request_page(number - 1)
        return page[place] if place < len(page) else None

    def spans(self, line: int) -> Iterable[Span]:
        row = self.row(line)
        return [(" ·", "muted")] if row is None else self.row_spans(line, row)

    def _request_page(self, number: int) -> None:
        if number in self._asked or number in self._pages:
            return
        self._asked.add(number)
        generation, fetch = self._generation, self._fetch
        self.run_worker(
            lambda: self._fetch_page(number, generation, fetch), thread=True, exit_on_error=False
        )

    def _fetch_page(self, number: int, generation: int, fetch: Fetch[Row]) -> None:
        try:
            rows = fetch(number * PAGE_ROWS, PAGE_ROWS)
        except RefoldError:
            # The next draw of a row requests the page again.
            self._asked.discard(number)
            return
        self.app.call_from_thread(self._on_page_fetched, number, generation, rows)

    def _on_page_fetched(self, number: int, generation: int, rows: Sequence[Row]) -> None:
        if generation != self._generation:
            return
        self._asked.discard(number)
        self._pages[number] = rows
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        self.refresh()

    def move_cursor(self, line: int) -> None:
        super().move_cursor(line)
        self.post_message(self.Picked(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        line = self.line_at(event)
        if line is not None:
            self.move_cursor(line)


def _fetch_nothing(first: int, count: int) -> Sequence[Row]:  # noqa: ARG001 - as every `Fetch`
    return []
