"""The table of what was found, below the panes; its cursor moves time."""

from collections.abc import Iterable
from dataclasses import replace

from tui.results.table import Finding, Findings
from tui.text.span import Span
from tui.widgets.paged_list import PagedList


class FindingsPane(PagedList[Finding]):
    """A row a place."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(lambda _first, _count: (), id=id, title="found")
        self.findings: Findings | None = None

    def show(self, findings: Findings) -> None:
        """Show this table; one that goes on grows at its end."""
        before, self.findings = self.findings, findings
        if before is None or before.what != findings.what or not before.going_on:
            self.cursor = -1
        self.title = findings.what
        self.forget(findings.fetch)
        self.line_count = len(findings.at)
        # No taller than it needs to be, unless it may still grow; the style sheet says how tall.
        self.styles.max_height = None if findings.going_on else max(self.line_count, 2) + 2
        self._tell()

    def stopped(self) -> None:
        """The question was left: what is here is all there will be."""
        if self.findings is not None:
            note = "stopped before the end of the history"
            self.findings = replace(self.findings, note=note, going_on=False)
            self._tell()

    def stand_at(self, position: int) -> None:
        """Put the cursor on the row that stands at a position, or the last before it."""
        found = self.findings
        on_row = found is not None and 0 <= self.cursor < len(found.at)
        if found is not None and not (on_row and found.at[self.cursor] == position):
            self.cursor = found.line_at(position)
        self._tell()

    def row(self, line: int) -> Finding | None:
        rows = self.findings.rows if self.findings is not None else None
        if rows is None:
            return super().row(line)
        return rows[line] if line < len(rows) else None

    def row_spans(self, line: int, row: Finding) -> Iterable[Span]:  # noqa: ARG002 - by contract
        return row.spans

    def _tell(self) -> None:
        if self.findings is not None:
            here = f"{self.cursor + 1:,} of " if self.cursor >= 0 else ""
            note = f" · {self.findings.note}" if self.findings.note else ""
            self.subtitle = f"{here}{len(self.findings.at):,}{note}"
