"""A list whose rows are fetched in pages. A row is drawn as a placeholder until its page arrives."""

from collections.abc import Iterable, Sequence
from typing import Generic

from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.state.query_runner import ThreadQueryRunner
from tui.text.span import Span
from tui.widgets.line_view import LineView
from tui.widgets.row_pages import Fetch, Row, RowPages


class PagedList(LineView, Generic[Row]):
    """A list of rows by number."""

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
        self._runner = ThreadQueryRunner(self, str)  # an error only delays a page
        self.pages: RowPages[Row] = RowPages(_fetch_nothing, self._runner, self.refresh)

    def row_spans(self, line: int, row: Row) -> Iterable[Span]:  # noqa: ARG002 - for subclasses
        """Return the text of a row."""
        return [(str(row), "")]

    def show_rows(self, fetch: Fetch[Row]) -> None:
        """Show the rows of another source."""
        self.pages = RowPages(fetch, self._runner, self.refresh)
        self.refresh()

    def row(self, line: int) -> Row | None:
        """Return a row; if its page isn't in memory, request the page and return None."""
        return self.pages.row(line, self.line_count)

    def spans(self, line: int) -> Iterable[Span]:
        row = self.row(line)
        return [(" ·", "muted")] if row is None else self.row_spans(line, row)

    def move_cursor(self, line: int) -> None:
        super().move_cursor(line)
        self.post_message(self.Picked(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        line = self.line_at(event)
        if line is not None:
            self.move_cursor(line)


def _fetch_nothing(first: int, count: int) -> Sequence[Row]:  # noqa: ARG001 - as every `Fetch`
    return []
