"""A pane of lines that are rendered when they come into view: the base of all lists and trees.

Component classes name the styles, so themes set the colours. All text passes through `sanitize_line`.
"""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import MouseEvent
from textual.reactive import reactive
from textual.strip import Strip

from tui.text.sanitize import sanitize_line
from tui.text.span import Span
from tui.widgets.line_scroller import LineScroller
from tui.widgets.line_styles import STYLES, LineStyles
from tui.widgets.pane import Pane


class LineView(Pane, can_focus=True):
    """A pane of lines with an optional cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{name}" for name in STYLES}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor('up')", "Up", show=False),
        Binding("down,j", "cursor('down')", "Down", show=False),
        Binding("pageup", "cursor('page up')", "Page up", show=False),
        Binding("pagedown", "cursor('page down')", "Page down", show=False),
        Binding("home", "cursor('top')", "Top", show=False),
        Binding("end", "cursor('bottom')", "Bottom", show=False),
        Binding("left,h", "sideways(-8)", "Left", show=False),
        Binding("right,l", "sideways(8)", "Right", show=False),
    ]

    line_count: reactive[int] = reactive(0, repaint=False)
    cursor: reactive[int] = reactive(-1, repaint=False)
    """The line under the cursor; -1 for none."""

    def __init__(self, *, id: str | None = None, title: str = "") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title=title)
        self.line_styles = LineStyles(self)
        self.scroller = LineScroller(self, self)

    def spans(self, line: int) -> Iterable[Span]:  # noqa: ARG002 - for subclasses
        """Return the text of a line. It must not block: it runs on the screen's thread."""
        return ()

    def line_style(self, line: int) -> str:  # noqa: ARG002 - for subclasses
        """Return the background style of a line."""
        return ""

    @property
    def content_width(self) -> int:
        """Columns of the widest line."""
        return 0

    def watch_line_count(self) -> None:
        self.scroller.fit()

    def watch_cursor(self, before: int, now: int) -> None:
        self.refresh_line(before)
        self.refresh_line(now)
        self.scroller.show(now)

    def refresh_line(self, y: int) -> None:
        """Redraw one line if it is in view."""
        if 0 <= y - self.scroll_offset.y < self.size.height:
            super().refresh_line(y)

    def line_at(self, event: MouseEvent) -> int | None:
        """Return the line under the mouse; None outside of the lines, such as on the border."""
        place = event.get_content_offset(self)
        line = -1 if place is None else place.y + self.scroll_offset.y
        return line if 0 <= line < self.line_count else None

    def line_segments(self, line: int, width: int) -> list[Segment]:
        styles = self.line_styles
        if line >= self.line_count:
            return [Segment(" " * width, styles.background())]
        under = self.line_style(line)
        on_cursor = line == self.cursor and self.has_focus
        if line == self.cursor:
            under = "cursor" if on_cursor else "cursor-blurred"
        ground = styles.background(under)
        # The cursor line uses the cursor's colours, for contrast.
        cells = [
            Segment(sanitize_line(text), ground if on_cursor else ground + styles.style(name))
            for text, name in self.spans(line)
        ]
        if self.scroll_offset.x:
            cells = list(Strip(cells).crop(self.scroll_offset.x, None))
        return _fit_segments(cells, width, ground)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.line_styles.forget()

    def on_resize(self) -> None:
        # Before the first layout there is no height to scroll in.
        self.scroller.fit()
        self.scroller.place_cursor()

    def on_focus(self) -> None:
        self.refresh_line(self.cursor)

    def on_blur(self) -> None:
        self.refresh_line(self.cursor)

    def action_cursor(self, where: str) -> None:
        """Move the cursor: up, down, page up, page down, top, bottom."""
        page = max(self.size.height - 1, 1)
        lines = {
            "up": self.cursor - 1,
            "down": self.cursor + 1,
            "page up": self.cursor - page,
            "page down": self.cursor + page,
            "top": 0,
            "bottom": self.line_count - 1,
        }
        self.move_cursor(lines[where])

    def action_sideways(self, columns: int) -> None:
        self.scroll_to(x=max(self.scroll_offset.x + columns, 0), animate=False, force=True)

    def move_cursor(self, line: int) -> None:
        """Move the cursor on behalf of the person."""
        self.cursor = max(0, min(line, self.line_count - 1))


def _fit_segments(cells: list[Segment], width: int, ground: Style) -> list[Segment]:
    """Return a line of that width; cut with a visible mark, because a cut number looks like another."""
    if Segment.get_line_length(cells) > width > 0:
        text = "".join(cell.text for cell in cells).rstrip()
        if cell_len(text) > width:
            kept = Segment.adjust_line_length(cells, width - 1, ground)
            return [*kept, Segment("…", kept[-1].style if kept else ground)]
    return Segment.adjust_line_length(cells, width, ground)
