"""The result table below the panes; selecting a row moves to its position."""

from collections.abc import Iterable
from dataclasses import replace

from tui.results.table import ResultRow, ResultTable
from tui.text.span import Span
from tui.widgets.paged_list import PagedList


class ResultsPane(PagedList[ResultRow]):
    """One row per result."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="results")
        self.findings: ResultTable | None = None

    def show_table(self, findings: ResultTable) -> None:
        """Show a table; a growing table replaces its shorter version."""
        before, self.findings = self.findings, findings
        if before is None or before.title != findings.title or not before.is_growing:
            self.cursor = -1
        self.title = findings.title
        self.show_rows(findings.fetch)
        self.line_count = len(findings.offsets)
        # No taller than its rows, unless it still grows; the style sheet sets the limit.
        self.styles.max_height = None if findings.is_growing else max(self.line_count, 2) + 2
        self._update_title()

    def stop_growing(self) -> None:
        """Note that the query was stopped."""
        if self.findings is not None:
            note = "stopped; later results are missing"
            self.findings = replace(self.findings, note=note, is_growing=False)
            self._update_title()

    def move_cursor_to(self, position: int) -> None:
        """Put the cursor on the row at a position, or on the last row before it."""
        found = self.findings
        on_row = found is not None and 0 <= self.cursor < len(found.offsets)
        if found is not None and not (on_row and found.offsets[self.cursor] == position):
            self.cursor = found.line_at(position)
        self._update_title()

    def row(self, line: int) -> ResultRow | None:
        rows = self.findings.rows if self.findings is not None else None
        if rows is None:
            return super().row(line)
        return rows[line] if line < len(rows) else None

    def row_spans(self, line: int, row: ResultRow) -> Iterable[Span]:  # noqa: ARG002 - by contract
        return row.spans

    def _update_title(self) -> None:
        if self.findings is not None:
            here = f"{self.cursor + 1:,} of " if self.cursor >= 0 else ""
            note = f" · {self.findings.note}" if self.findings.note else ""
            self.subtitle = f"{here}{len(self.findings.offsets):,}{note}"
