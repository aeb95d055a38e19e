"""A scrolling pane in a rounded frame that redraws only the lines that changed.

Textual filters and composes every line of a widget at every paint, and redraws all of them when a
title changes. A held key repaints the screen thirty times a second, so a pane caches its drawn lines,
frame included, until a line is refreshed.
"""

from typing import Self

from rich.segment import Segment
from textual.geometry import Offset, Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.frame import EdgeText, Frame


class Pane(ScrollView):
    """A frame with a title above and a subtitle below."""

    title = EdgeText(lambda _: -1)
    """The text in the upper edge."""
    subtitle = EdgeText(lambda pane: pane.size.height)
    """The text in the lower edge."""

    def __init__(self, *, id: str | None = None, title: str = "") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._frame = Frame(self)
        self._drawn: dict[int, Strip] = {}
        self._drawn_for: tuple[Region, Offset, bool] | None = None
        self.title = title

    def line_segments(self, line: int, width: int) -> list[Segment]:  # noqa: ARG002 - for subclasses
        """Return `width` cells of a line of the pane."""
        return [Segment(" " * width)]

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        if repaint:
            if not regions:
                self._drawn.clear()
            for region in regions:
                for y in region.line_range:
                    self._drawn.pop(y + self.gutter.top, None)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()
        self._frame.forget_styles()

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        # A scrollbar that appears late has missed earlier scrolling.
        if shown:
            self.vertical_scrollbar.position = self.scroll_y

    def render_lines(self, crop: Region) -> list[Strip]:
        drawn_for = (self.scrollable_content_region, self.scroll_offset, self.has_focus)
        if drawn_for != self._drawn_for:
            self._drawn.clear()
            self._drawn_for = drawn_for
        strips = []
        for y in crop.line_range:
            strip = self._drawn.get(y)
            if strip is None:
                strip = self._drawn[y] = self._draw_line(y)
            strips.append(strip)
        left, right = crop.column_span
        if (left, right) != (0, self.outer_size.width):
            strips = [strip.crop(left, right) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        return Strip(self.line_segments(y + self.scroll_offset.y, width), width)

    def _draw_line(self, y: int) -> Strip:
        """Return a line with its part of the frame, filtered for the terminal."""
        width, height = self.outer_size
        if y == 0:
            cells = self._frame.top(width, self.title)
        elif y == height - 1:
            cells = self._frame.bottom(width, self.subtitle)
        else:
            inner = self.scrollable_content_region.width
            line = y - self.gutter.top + self.scroll_offset.y
            cells = self._frame.around(self.line_segments(line, inner), width - 2 - inner)
        background = self.background_colors[1]
        for line_filter in self.get_line_filters():
            cells = line_filter.apply(cells, background)
        return Strip(cells, width)
