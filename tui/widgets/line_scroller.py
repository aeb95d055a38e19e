"""Scrolling of a pane of lines: as seldom as possible, because it redraws all lines."""

from typing import Protocol

from textual.geometry import Size
from textual.scroll_view import ScrollView


class Lines(Protocol):
    """What a pane shows."""

    line_count: int
    cursor: int

    @property
    def content_width(self) -> int: ...


class LineScroller:
    """Scrolls one pane."""

    def __init__(self, pane: ScrollView, lines: Lines) -> None:
        self._pane = pane
        self._lines = lines

    def fit(self) -> None:
        """Set the scrollable size. A new size costs a layout of the screen, so content that fits
        into the pane always gets the pane's own size."""
        pane, lines = self._pane, self._lines
        room = pane.scrollable_content_region.size
        wanted = Size(
            lines.content_width if lines.content_width > room.width else 0,
            lines.line_count if lines.line_count > room.height else 0,
        )
        if wanted != pane.virtual_size:
            pane.virtual_size = wanted
            self.place_cursor()

    def show(self, line: int) -> None:
        """Scroll if needed, to show a line with some of its neighbours.

        At an edge it scrolls by a third of the pane: moving only the cursor redraws two lines, but
        scrolling redraws all of them.
        """
        pane = self._pane
        height = pane.scrollable_content_region.height
        if line < 0 or height <= 0:
            return
        margin = min(3, (height - 1) // 2)
        top = pane.scroll_offset.y
        third = height // 3
        if line < top + min(margin, line):
            self._scroll(max(line - third, 0))
        elif line >= top + height - min(margin, self._lines.line_count - 1 - line):
            self._scroll(line + third - height + 1)

    def place_cursor(self) -> None:
        """Scroll in a pane of a new size as if the cursor had come from above."""
        pane, cursor = self._pane, self._lines.cursor
        height = pane.scrollable_content_region.height
        if height <= 0:
            return
        wanted = cursor + height // 3 - height + 1 if cursor >= 0 else pane.scroll_offset.y
        self._scroll(max(0, min(wanted, self._lines.line_count - height)))

    def _scroll(self, y: int) -> None:
        # Forced, because a list that has just grown has no scrollbar before its next layout.
        self._pane.scroll_to(y=y, animate=False, force=True)
