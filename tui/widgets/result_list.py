"""The rows of an SQL result under a fixed line of column names."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import MouseEvent
from textual.message import Message
from textual.strip import Strip

from tui.text.sanitize import fit_width, sanitize_line, shorten
from tui.text.span import Span
from tui.widgets.paged_list import PagedList

Row = tuple[str | None, ...]


class Column(Protocol):
    """A column of a result."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def is_number(self) -> bool: ...


class Rows(Protocol):
    """The rows of a result, as text."""

    @property
    def columns(self) -> Sequence[Column]: ...

    @property
    def row_count(self) -> int: ...

    @property
    def column_widths(self) -> Sequence[int]: ...

    @property
    def is_truncated(self) -> bool: ...

    def read_rows(self, first: int, count: int) -> Sequence[Row]:
        """Return some rows; called in a thread."""


NULL = "∅"
"""Shown for SQL NULL, because the text `NULL` could also be a value."""

_NARROWEST = 14
"""Columns that a value keeps at least when space is short."""
_A_TIME = 26
"""Columns of a timestamp."""


class ResultList(PagedList[Row]):
    """One line per row. Line 0 holds the column names, so rows count from one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose('pick')", "go to event", key_display="enter", id="sql.seek"),
        Binding("space", "choose('open')", "show row", id="sql.row"),
        Binding("y", "choose('copy')", "copy row", id="sql.copy"),
    ]

    class Chosen(Message):
        """The person chose an action for a row: `pick`, `open` or `copy`."""

        def __init__(self, what: str, number: int) -> None:
            super().__init__()
            self.what = what
            self.number = number

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="rows")
        self._answer: Rows | None = None
        self._widths: Sequence[int] = ()
        self._told = ""

    def show_answer(self, answer: Rows) -> None:
        """Show a result from its first row."""
        self._answer = answer
        rows = f"{answer.row_count:,} row{'' if answer.row_count == 1 else 's'}"
        self._told = f"first {rows} only" if answer.is_truncated else rows
        self._fit_columns()
        self.show_rows(self._rows)
        self.scroll_to(0, 0, animate=False, force=True)
        self.line_count = answer.row_count + 1
        self.cursor = 1 if answer.row_count else -1

    def _fit_columns(self) -> None:
        """Fit the columns to their content; if space is short, cut the widest down to a minimum."""
        answer = self._answer
        if answer is None:
            return
        wanted = [
            max(len(column.name), widest, 1)
            for column, widest in zip(answer.columns, answer.column_widths, strict=True)
        ]
        room = self.size.width - 2 * len(wanted)
        widths = [0] * len(wanted)
        for left, number in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
            least = _A_TIME if answer.columns[number].type.startswith("TIMESTAMP") else _NARROWEST
            share = max(room // (len(wanted) - left), least)
            widths[number] = min(wanted[number], share)
            room -= widths[number]
        self._widths = widths
        wider = " · ← → more columns" if self.content_width > self.size.width else ""
        self.subtitle = f"{self._told}{wider}"

    def on_resize(self) -> None:
        self._fit_columns()
        self.refresh()
        super().on_resize()

    @property
    def content_width(self) -> int:
        return sum(self._widths) + 2 * len(self._widths)

    def row_spans(self, line: int, row: Row) -> Iterable[Span]:  # noqa: ARG002 - by contract
        if self._answer is None:
            return
        for column, width, value in zip(self._answer.columns, self._widths, row, strict=True):
            if value is None:
                yield f" {NULL.rjust(width) if column.is_number else NULL.ljust(width)} ", "muted"
            elif column.is_number:
                yield f" {shorten(sanitize_line(value), width):>{width}} ", "number"
            else:
                style = "truth" if column.type == "BOOLEAN" else ""
                yield f" {fit_width(value, width)} ", style

    def line_segments(self, line: int, width: int) -> list[Segment]:
        if line != self.scroll_offset.y or self._answer is None:
            return super().line_segments(line, width)
        style = self.line_styles.background() + self.line_styles.style("heading")
        cells = []
        for column, room in zip(self._answer.columns, self._widths, strict=True):
            name = fit_width(column.name, room)
            cells.append(f" {name.strip().rjust(room) if column.is_number else name} ")
        names = Strip([Segment("".join(cells), style)]).crop(self.scroll_offset.x, None)
        return Segment.adjust_line_length(list(names), width, style)

    def line_at(self, event: MouseEvent) -> int | None:
        line = super().line_at(event)
        return None if line == self.scroll_offset.y else line

    def move_cursor(self, line: int) -> None:
        super().move_cursor(max(line, 1))

    def action_choose(self, what: str) -> None:
        """Choose an action for the row under the cursor."""
        if self._answer is not None and 1 <= self.cursor <= self._answer.row_count:
            self.post_message(self.Chosen(what, self.cursor - 1))

    def _rows(self, first: int, count: int) -> Sequence[Row]:
        if self._answer is None:
            return []
        rows = self._answer.read_rows(max(first - 1, 0), count if first else count - 1)
        return rows if first else [(), *rows]
