"""The results of a sweep as a sortable table; Enter opens a fork."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import MouseEvent
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Footer

from storage.plural import format_count
from tui.results.sweep_table import SweepTable
from tui.text.span import Span
from tui.widgets.line_view import LineView

if TYPE_CHECKING:
    from replay.forks.sweep.variants import SweepVariant  # noqa: F401 - used in the base class's type


class SweepResultsScreen(ModalScreen["SweepVariant | str | None"]):
    """The results; returns the variant to open, `another` for a new sweep, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open fork", key_display="enter"),
        Binding("s", "sort(True)", "sort by next column"),
        Binding("r", "sort(False)", "reverse"),
        Binding("n,asterisk", "dismiss('another')", "new sweep", key_display="n"),
        Binding("escape,q", "dismiss(None)", "close", key_display="esc"),
    ]

    def __init__(self, table: SweepTable) -> None:
        super().__init__()
        self._table = table

    def compose(self) -> ComposeResult:
        yield SweepResultList(self._table)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(SweepResultList).show()

    def action_open(self) -> None:
        row = self.query_one(SweepResultList).cursor - 1
        self.dismiss(self._table.rows[row].variant)

    def action_sort(self, other: bool) -> None:
        self._table.sort(other=other)
        self.query_one(SweepResultList).show()


class SweepResultList(LineView):
    """One line per fork. Line 0 holds the column names, so rows count from one."""

    def __init__(self, table: SweepTable) -> None:
        super().__init__(id="outcomes")
        self._table = table

    def show(self) -> None:
        """Show the rows in their current order, with the cursor on the first."""
        self.line_count = len(self._table.rows) + 1
        self.title = f"{format_count(len(self._table.rows), 'fork')}, {self._table.order_text}"
        self.subtitle = self._table.base_text
        self.scroll_to(0, 0, animate=False, force=True)
        self.cursor = 1
        self.refresh()

    def spans(self, line: int) -> Iterable[Span]:
        yield f" {self._table.row_text(line - 1)}", ""
        yield f"  {self._table.error_text(line - 1)}", "failed"

    @property
    def content_width(self) -> int:
        return len(self._table.heading()) + 2

    def line_segments(self, line: int, width: int) -> list[Segment]:
        if line != self.scroll_offset.y:
            return super().line_segments(line, width)
        style = self.line_styles.background() + self.line_styles.style("heading")
        names = Strip([Segment(f" {self._table.heading()}", style)])
        return Segment.adjust_line_length(
            list(names.crop(self.scroll_offset.x, None)), width, style
        )

    def line_at(self, event: MouseEvent) -> int | None:
        line = super().line_at(event)
        return None if line == self.scroll_offset.y else line

    def move_cursor(self, line: int) -> None:
        super().move_cursor(max(line, 1))

    def on_click(self, event: events.Click) -> None:
        line = self.line_at(event)
        if line is not None:
            self.move_cursor(line)
