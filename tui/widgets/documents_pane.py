"""The documents that had been born at the position, in the order of their birth.

So the list grows at its end as time goes on, and no row ever jumps.
"""

from collections.abc import Iterable

from replay.history import DocumentRow
from tui.model import Model, Snapshot
from tui.widgets.line_view import Span
from tui.widgets.paged_list import PagedList


class DocumentsPane(PagedList[DocumentRow]):
    """A row a document."""

    BORDER_TITLE = "documents"

    def __init__(self, model: Model, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(model.document_rows, id=id)
        self._touched: tuple[str, ...] = ()

    def show(self, snapshot: Snapshot, *, pinned: bool) -> None:
        """Documents as of a snapshot."""
        if self._touched != snapshot.touched:
            self._touched = snapshot.touched
            self.refresh()
        self.line_count = snapshot.documents
        if snapshot.ordinal is not None and snapshot.ordinal < snapshot.documents:
            self.cursor = snapshot.ordinal
        else:
            self.cursor = -1
        self.border_subtitle = f"{snapshot.documents:,}{' · pinned' if pinned else ''}"

    def row_spans(self, line: int, row: DocumentRow) -> Iterable[Span]:  # noqa: ARG002 - by contract
        changed = row.key in self._touched
        yield ("● " if changed else "  ", "mark")
        yield (row.key, "key" if changed else "")
        yield (f"  since {row.born:,}", "muted")
