"""A pane that shows a value as lines, with a cursor, collapsible parts and horizontal scrolling."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from replay.document.paths import DocumentPath
from tui.text.sanitize import sanitize_line
from tui.text.span import Span
from tui.widgets.line_view import LineView
from tui.widgets.value_lines import ExpansionState, ValueLine


class ValueView(LineView):
    """The lines of one or several values."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter,space", "open_or_close", "expand or collapse", show=False, id="value.toggle"
        ),
    ]

    def __init__(self, *, id: str | None = None, title: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title=title)
        self.lines: Sequence[ValueLine] = ()
        self._width = 0
        self.expansion = ExpansionState()
        """Which parts are shown."""

    def show_lines(self, lines: Sequence[ValueLine]) -> None:
        """Show these lines, with the cursor on the same value as before if it still exists."""
        before, path, self.lines = self.lines, self.path, lines
        self._width = max((_line_width(line) for line in lines), default=0)
        self.line_count = len(lines)
        self.scroller.fit()
        if self.cursor >= len(lines):
            self.cursor = len(lines) - 1
        if path and path != self.path:
            self.cursor = next((n for n, ln in enumerate(lines) if ln.path == path), self.cursor)
        # Redraw only the lines that changed: between two events most stay the same.
        for number in range(max(len(before), len(lines))):
            if before[number : number + 1] != lines[number : number + 1]:
                self.refresh_line(number)

    @property
    def content_width(self) -> int:
        return self._width

    def spans(self, line: int) -> Iterable[Span]:
        return self.lines[line].spans if line < len(self.lines) else ()

    def line_style(self, line: int) -> str:
        return self.lines[line].style if line < len(self.lines) else ""

    @property
    def path(self) -> DocumentPath:
        """The path of the value under the cursor; empty (the whole) without a cursor."""
        return self.lines[self.cursor].path if 0 <= self.cursor < len(self.lines) else ()

    def action_open_or_close(self) -> None:
        if not 0 <= self.cursor < len(self.lines):
            return
        line = self.lines[self.cursor]
        if line.left_out:
            self.expansion = self.expansion.show_more(line.path, line.left_out)
            self.redraw()
        elif line.is_expandable:
            self.expansion = self.expansion.toggle(line.path)
            self.redraw()

    def redraw(self) -> None:
        """Build the lines again, because a part was collapsed or expanded."""

    def on_click(self, event: events.Click) -> None:
        line = self.line_at(event)
        if line is not None:
            again = line == self.cursor
            self.cursor = line
            if again:
                self.action_open_or_close()


def _line_width(line: ValueLine) -> int:
    return sum(cell_len(sanitize_line(text)) for text, _ in line.spans)
