"""A scrolling pane in a rounded frame that redraws only the lines that changed.

Textual filters and composes every line of a widget at every paint, and redraws all of them when a
title changes. A held key repaints the screen thirty times a second, so a pane caches its drawn lines,
frame included, until a line is refreshed.
"""

from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset, Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.text.sanitize import sanitize_line, shorten

_LONGEST = 200


class Pane(ScrollView):
    """A frame with a title above and a subtitle below, in the colours of the CSS border."""

    def __init__(self, *, id: str | None = None, title: str = "") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._labels = {"title": title, "subtitle": ""}
        self._drawn: dict[int, Strip] = {}
        self._drawn_for: tuple[Region, Offset, bool] | None = None
        self._edge: tuple[Style, Style] | None = None

    def line_segments(self, line: int, width: int) -> list[Segment]:
        """Return `width` cells of a line of the pane."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The text in the upper edge; it may come from events, so markup has no meaning in it."""
        return self._labels["title"]

    @title.setter
    def title(self, text: str) -> None:
        self._label("title", text, -1)

    @property
    def subtitle(self) -> str:
        """The text in the lower edge."""
        return self._labels["subtitle"]

    @subtitle.setter
    def subtitle(self, text: str) -> None:
        self._label("subtitle", text, self.size.height)

    def _label(self, which: str, text: str, edge: int) -> None:
        text = sanitize_line(shorten(text, _LONGEST))
        if text != self._labels[which]:
            self._labels[which] = text
            self.refresh(Region(-1, edge, self.outer_size.width, 1))

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
        self._edge = None

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
        frame, label = self._edge_styles()
        inner = self.scrollable_content_region.width
        if y == 0:
            title = self._border_label(self.title, width - 6)
            rule = "─" * (width - 3 - cell_len(title))
            cells = [Segment("╭─", frame), Segment(title, label), Segment(f"{rule}╮", frame)]
        elif y == height - 1:
            said = self._border_label(self.subtitle, width - 6)
            rule = "─" * (width - 3 - cell_len(said))
            cells = [Segment(f"╰{rule}", frame), Segment(said, label), Segment("─╯", frame)]
        else:
            line = y - self.gutter.top + self.scroll_offset.y
            room = " " * (width - 2 - inner)  # for the scrollbar
            cells = [Segment("│", frame), *self.line_segments(line, inner)]
            cells.append(Segment(f"{room}│", frame))
        background = self.background_colors[1]
        for line_filter in self.get_line_filters():
            cells = line_filter.apply(cells, background)
        return Strip(cells, width)

    @staticmethod
    def _border_label(text: str, room: int) -> str:
        if not text or room < 1:
            return ""
        return f" {text if cell_len(text) <= room else set_cell_size(text, room - 1) + '…'} "

    def _edge_styles(self) -> tuple[Style, Style]:
        if self._edge is None:
            below, ground = self.background_colors
            color = self.styles.border_top[1]
            named = self.styles.border_title_color
            if self.styles.auto_border_title_color:
                named = ground.get_contrast_text(named.a)
            back = ground.rich_color
            frame = Style(color=(below + color).rich_color, bgcolor=back)
            label = Style(color=(ground + named).rich_color, bgcolor=back)
            self._edge = frame, label + self.styles.border_title_style
        return self._edge
