"""A pane that shows lines of a value, with a cursor, parts that close, and a width to scroll to."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from replay.document.paths import DocumentPath
from tui.text.sanitize import sanitize_line
from tui.text.span import Span
from tui.widgets.line_view import LineView
from tui.widgets.value_lines import MORE, ExpansionState, ValueLine


class ValueView(LineView):
    """Lines of one or several values."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "open_or_close", "Open or close", show=False, id="value.toggle"),
    ]

    def __init__(self, *, id: str | None = None, title: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title=title)
        self._lines: Sequence[ValueLine] = ()
        self._width = 0
        self.closed: frozenset[DocumentPath] = frozenset()
        self.more: dict[DocumentPath, int] = {}
        """How many members are shown of objects that have very many."""

    def show_lines(self, lines: Sequence[ValueLine]) -> None:
        """Show these; the value that was looked at is under the cursor, where it is still there."""
        before, path, self._lines = self._lines, self.path, lines
        self._width = max((_line_width(line) for line in lines), default=0)
        self.line_count = len(lines)
        self.fit_virtual_size()
        if self.cursor >= len(lines):
            self.cursor = len(lines) - 1
        if path and path != self.path:
            self.cursor = next((n for n, ln in enumerate(lines) if ln.path == path), self.cursor)
        # From one event to the next most lines stay as they are, and most are blank.
        for number in range(max(len(before), len(lines))):
            if before[number : number + 1] != lines[number : number + 1]:
                self.refresh_line(number)

    @property
    def content_width(self) -> int:
        return self._width

    def spans(self, line: int) -> Iterable[Span]:
        return self._lines[line].spans if line < len(self._lines) else ()

    def line_style(self, line: int) -> str:
        return self._lines[line].style if line < len(self._lines) else ""

    @property
    def path(self) -> DocumentPath:
        """The value under the cursor; the whole where there is none."""
        return self._lines[self.cursor].path if 0 <= self.cursor < len(self._lines) else ()

    def select_path(self, path: DocumentPath) -> None:
        """Put the cursor on the value at a path, or on what is left of the way there."""
        while True:
            for number, line in enumerate(self._lines):
                if line.path == path and path:
                    self.cursor = number
                    return
            if not path:
                return
            path = path[:-1]

    def show_first_change(self) -> None:
        """Scroll to what the event changed, if that is out of sight."""
        for number, line in enumerate(self._lines):
            if line.style:
                self.show_line(number)
                return

    def opening(self, wanted: DocumentPath | None = None) -> ExpansionState:
        """What is open, and a path that is to be seen whatever is."""
        return ExpansionState(self.closed, self.more, wanted)

    def action_open_or_close(self) -> None:
        if not 0 <= self.cursor < len(self._lines):
            return
        line = self._lines[self.cursor]
        if line.left_out:
            self.more = {**self.more, line.path: line.left_out + MORE}
            self.redraw()
        elif line.is_expandable:
            self.closed ^= {line.path}
            self.redraw()

    def redraw(self) -> None:
        """Make the lines anew, as a part was closed or opened."""

    def on_click(self, event: events.Click) -> None:
        line = self.line_at(event)
        if line is not None:
            again = line == self.cursor
            self.cursor = line
            if again:
                self.action_open_or_close()


def _line_width(line: ValueLine) -> int:
    return sum(cell_len(sanitize_line(text)) for text, _ in line.spans)
