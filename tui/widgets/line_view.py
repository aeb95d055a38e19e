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
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip

from tui.text.sanitize import sanitize_line
from tui.text.span import Span
from tui.widgets.pane import Pane

STYLES = (
    *("cursor", "cursor-blurred", "muted", "name", "text", "number", "truth", "key", "heading"),
    *("added", "changed", "removed", "was", "failed", "mark", "match"),
)


class LineView(Pane, can_focus=True):
    """A pane of lines with an optional cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{name}" for name in STYLES}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(-1)", "Top", show=False),
        Binding("end", "edge(1)", "Bottom", show=False),
        Binding("left,h", "sideways(-8)", "Left", show=False),
        Binding("right,l", "sideways(8)", "Right", show=False),
    ]

    line_count: reactive[int] = reactive(0, repaint=False)
    cursor: reactive[int] = reactive(-1, repaint=False)
    """The line under the cursor; -1 for none."""

    def __init__(self, *, id: str | None = None, title: str = "") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title=title)
        self._styles: dict[str, Style] = {}
        self._grounds: dict[str, Style] = {}

    def spans(self, line: int) -> Iterable[Span]:
        """Return the text of a line. It must not block: it runs on the screen's thread."""
        raise NotImplementedError

    def line_style(self, line: int) -> str:  # noqa: ARG002 - for subclasses
        """Return the background style of a line."""
        return ""

    def watch_line_count(self) -> None:
        self.fit_virtual_size()

    def fit_virtual_size(self) -> None:
        """Set the scrollable size. A new size costs a layout of the screen, so content that fits
        into the pane always gets the pane's own size."""
        room = self.scrollable_content_region.size
        wanted = Size(
            self.content_width if self.content_width > room.width else 0,
            self.line_count if self.line_count > room.height else 0,
        )
        if wanted != self.virtual_size:
            self.virtual_size = wanted
            self._place_cursor()

    @property
    def content_width(self) -> int:
        """Columns of the widest line."""
        return 0

    def watch_cursor(self, before: int, now: int) -> None:
        self.refresh_line(before)
        self.refresh_line(now)
        self.show_line(now)

    def refresh_line(self, y: int) -> None:
        """Redraw one line if it is in view."""
        if 0 <= y - self.scroll_offset.y < self.size.height:
            super().refresh_line(y)

    def line_at(self, event: MouseEvent) -> int | None:
        """Return the line under the mouse; None outside of the lines, such as on the border."""
        place = event.get_content_offset(self)
        line = -1 if place is None else place.y + self.scroll_offset.y
        return line if 0 <= line < self.line_count else None

    def show_line(self, line: int) -> None:
        """Scroll if needed, to show a line with some of its neighbours.

        At an edge it scrolls by a third of the pane: moving only the cursor redraws two lines, but
        scrolling redraws all of them.
        """
        height = self.scrollable_content_region.height
        if line < 0 or height <= 0:
            return
        margin = min(3, (height - 1) // 2)
        top = self.scroll_offset.y
        third = height // 3
        if line < top + min(margin, line):
            self._scroll(max(line - third, 0))
        elif line >= top + height - min(margin, self.line_count - 1 - line):
            self._scroll(line + third - height + 1)

    def _place_cursor(self) -> None:
        """Scroll in a pane of a new size as if the cursor had come from above."""
        height = self.scrollable_content_region.height
        if height <= 0:
            return
        wanted = (
            self.cursor + height // 3 - height + 1 if self.cursor >= 0 else self.scroll_offset.y
        )
        self._scroll(max(0, min(wanted, self.line_count - height)))

    def _scroll(self, y: int) -> None:
        # Forced, because a list that has just grown has no scrollbar before its next layout.
        self.scroll_to(y=y, animate=False, force=True)

    def line_segments(self, line: int, width: int) -> list[Segment]:
        if line >= self.line_count:
            return [Segment(" " * width, self._line_background())]
        under = self.line_style(line)
        on_cursor = line == self.cursor and self.has_focus
        if line == self.cursor:
            under = "cursor" if on_cursor else "cursor-blurred"
        ground = self._line_background(under)
        # The cursor line uses the cursor's colours, for contrast.
        cells = [
            Segment(sanitize_line(text), ground if on_cursor else ground + self._style(name))
            for text, name in self.spans(line)
        ]
        if self.scroll_offset.x:
            cells = list(Strip(cells).crop(self.scroll_offset.x, None))
        return _fit_segments(cells, width, ground)

    def _line_background(self, under: str = "") -> Style:
        """Return the background of a line."""
        if under not in self._grounds:
            self._grounds[under] = self.rich_style + self._style(under)
        return self._grounds[under]

    def _style(self, name: str) -> Style:
        """Return a component's style, with transparent colours blended into the pane's background."""
        if not name:
            return Style()
        if name not in self._styles:
            styles = self.get_component_styles(f"line--{name}")
            ground = self.background_colors[1]
            back = ground + styles.background if styles.has_rule("background") else None
            fore = None
            if styles.auto_color:
                under = back or ground
                fore = under + under.get_contrast_text(styles.color.a)
            elif styles.has_rule("color"):
                fore = (back or ground) + styles.color
            self._styles[name] = styles.text_style + Style(
                color=fore.rich_color if fore else None, bgcolor=back.rich_color if back else None
            )
        return self._styles[name]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}
        self._grounds = {}

    def on_resize(self) -> None:
        # Before the first layout there is no height to scroll in.
        self.fit_virtual_size()
        self._place_cursor()

    def on_focus(self) -> None:
        self.refresh_line(self.cursor)

    def on_blur(self) -> None:
        self.refresh_line(self.cursor)

    def action_move(self, lines: int) -> None:
        self.move_cursor(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self.move_cursor(self.cursor + pages * max(self.size.height - 1, 1))

    def action_edge(self, side: int) -> None:
        self.move_cursor(0 if side < 0 else self.line_count - 1)

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
