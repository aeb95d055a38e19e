"""The density strip: the whole log as a bar chart to seek in, with lanes of marks under it."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from storage.log.positions import START
from tui.state.lanes import Lane
from tui.state.overview import MAX_LANES, Overview
from tui.text.sanitize import sanitize_line, shorten
from tui.text.timestamps import format_short_time

_BARS = " ▁▂▃▄▅▆▇█"
_MARKS = {"broken": "╵", "watch": "•", "call": "·", "irregular": "~", "bookmark": "▾"}
_SHORTEST = 4
"""Columns up to which a lane's name is left out."""


class DensityStrip(Widget):
    """Events over time (over offsets if the log has no times); click or drag to seek."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "strip--bar",
        "strip--past",
        "strip--cursor",
        "strip--date",
        "strip--failed",
        "strip--broken",
        "strip--irregular",
        "strip--watch",
        "strip--call",
        "strip--bookmark",
    }

    class Resized(Message):
        """The strip has a new width and needs an overview with that many columns."""

        def __init__(self, columns: int) -> None:
            super().__init__()
            self.columns = columns

    class SeekRequested(Message):
        """The person clicked or dragged to a position."""

        def __init__(self, position: int, *, dragging: bool) -> None:
            super().__init__()
            self.position = position
            self.dragging = dragging

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._overview: Overview | None = None
        self._position = START

    def show_overview(self, overview: Overview) -> None:
        """Draw the log."""
        self._overview = overview
        for count in range(1, MAX_LANES + 1):
            self.set_class(len(overview.lanes) == count, f"-lanes-{count}")
        self.refresh()

    def move_cursor_to(self, position: int) -> None:
        """Move the cursor to a position."""
        before = self._column(self._overview) if self._overview else None
        self._position = position
        if self._overview and self._column(self._overview) != before:
            self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self.post_message(self.Resized(max(event.size.width, 1)))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        overview = self._overview
        if overview is None or len(overview.density.counts) != width:
            return Strip.blank(width, self.rich_style)
        rows = max(self.size.height - 2 - len(overview.lanes), 1)
        if y == 0:
            return self._date_line(overview, width)
        if y <= rows:
            return self._bar_row(overview, rows, rows - y)
        if y == rows + 1:
            return self._cursor_line(overview, width)
        return self._lane(*overview.lanes[min(y - rows - 2, len(overview.lanes) - 1)], width)

    def _date_line(self, overview: Overview, width: int) -> Strip:
        first, last = overview.extent.first_time, overview.extent.last_time
        if first is None or last is None:
            left, right = "0", f"{max(overview.extent.event_count - 1, 0):,}"
        else:
            left, right = format_short_time(first), format_short_time(last)
        style = self.get_component_rich_style("strip--date")
        rule = "─" * max(width - len(left) - len(right) - 2, 0)
        return Strip([Segment(f"{left} {rule} {right}", style)]).adjust_cell_length(width)

    def _bar_row(self, overview: Overview, rows: int, row: int) -> Strip:
        """Return one row of the bars, counted from the bottom; past and future differ in colour."""
        levels = _bar_heights(overview.density.counts, rows * 8)
        here = self._column(overview)
        past = self.get_component_rich_style("strip--past")
        future = self.get_component_rich_style("strip--bar")
        cells = "".join(_BARS[min(max(level - row * 8, 0), 8)] for level in levels)
        return Strip([Segment(cells[: here + 1], past), Segment(cells[here + 1 :], future)])

    def _lane(self, lane: Lane, columns: Sequence[int], width: int) -> Strip:
        """Return a lane: its marks, and its name in the widest gap between them."""
        marked = sorted({min(column, width - 1) for column in columns})
        edges = [-1, *marked, width]
        gap, start = max(((after - before, -before) for before, after in pairwise(edges)))
        room = gap - 3
        name = shorten(sanitize_line(lane.name), room) if room > _SHORTEST else ""
        mark = self.get_component_rich_style(f"strip--{lane.style}")
        named = self.get_component_rich_style("strip--date")
        cells = []
        for before, after in pairwise(edges):
            text = f" {name}" if -before == start and name else ""
            cells.append(Segment(set_cell_size(text, after - before - 1), named))
            cells.append(Segment(_MARKS[lane.style], mark))
        return Strip(cells[:-1], width)

    def _cursor_line(self, overview: Overview, width: int) -> Strip:
        """Return the line with the cursor and the handler errors."""
        failed = self.get_component_rich_style("strip--failed")
        plain = self.rich_style
        cells = [Segment(" ", plain)] * width
        for column in overview.failures:
            if column < width:
                cells[int(column)] = Segment("╵", failed)
        here = self._column(overview)
        if here >= 0:
            cells[here] = Segment("▲", self.get_component_rich_style("strip--cursor"))
        return Strip(cells)

    def _column(self, overview: Overview) -> int:
        """Return the column of the position; -1 at the start."""
        if self._position == START:
            return -1
        ends = overview.density.last_offsets
        return min(bisect_left(ends, self._position), len(ends) - 1)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.capture_mouse()
        self._seek(event.x, dragging=False)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._seek(event.x, dragging=True)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def _seek(self, column: int, *, dragging: bool) -> None:
        if self._overview is not None:
            ends = self._overview.density.last_offsets
            position = int(ends[max(0, min(column, len(ends) - 1))])
            self.post_message(self.SeekRequested(position, dragging=dragging))


def _bar_heights(counts: Sequence[int], steps: int) -> list[int]:
    """Return bar heights in eighths of a row, rounded up so that one event is visible."""
    most = max(*counts, 1)
    return [-(-count * steps // most) for count in counts]
