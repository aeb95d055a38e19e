"""The document list: all documents created up to the position, in order of creation.

So the list only grows at its end, and rows keep their place.
"""

from collections.abc import Iterable

from replay.history.history import DocumentRow
from tui.state.snapshot import LateDetails
from tui.text.sanitize import shorten
from tui.text.span import Span
from tui.widgets.paged_list import PagedList
from tui.widgets.row_pages import Fetch

_LONGEST = 200


class DocumentsPane(PagedList[DocumentRow]):
    """One row per document."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="documents")
        self._touched: tuple[str, ...] = ()
        self._first_offset = 0

    def show_documents(self, fetch: Fetch[DocumentRow], first_offset: int) -> None:
        """Show the documents of a history that begins at an offset."""
        self._first_offset = first_offset
        self.show_rows(fetch)

    def mark_changed(self, keys: tuple[str, ...]) -> None:
        """Mark the documents that the event changed."""
        before, self._touched = self._touched, keys
        others = set(before) ^ set(keys)
        top = self.scroll_offset.y
        for line in range(top, min(top + self.size.height, self.line_count)) if others else ():
            row = self.row(line)
            if row is not None and row.key in others:
                self.refresh_line(line)

    def show_late_details(self, settled: LateDetails, *, pinned: bool) -> None:
        """Show the documents at a position, with the cursor on the selected one."""
        if self.line_count != settled.documents:
            self.line_count = settled.documents
            self.refresh()
        born = settled.ordinal is not None and settled.ordinal < settled.documents
        self.cursor = settled.ordinal if born and settled.ordinal is not None else -1
        self.subtitle = f"{settled.documents:,}{' · pinned' if pinned else ''}"

    def row_spans(self, line: int, row: DocumentRow) -> Iterable[Span]:  # noqa: ARG002 - by contract
        changed = row.key in self._touched
        yield ("● " if changed else "  ", "mark")
        yield (shorten(row.key, _LONGEST), "key" if changed else "")
        first = self._first_offset
        since = (
            f"created at {row.created_at:,}"
            if row.created_at >= first
            else f"created before {first:,}"
        )
        yield (f"  {since}", "muted")
