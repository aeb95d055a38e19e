"""The plot of values over time, below the panes; it covers the same time as the strip, and a click seeks.

Imported with the first plot, because it imports numpy.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import AxisFormatter

from replay.query.series import Series
from storage.log.event_log import EventDensity, LogExtent
from storage.log.positions import START
from tui.results.plot_query import Plot
from tui.text.sanitize import sanitize_line, shorten
from tui.text.timestamps import format_short_time

_COLORS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_LONGEST = 48
_TICK = 24
"""Columns for a time below the plot."""


class PlotPane(Vertical):
    """A plot of one or several values, with a line at the position."""

    class SeekRequested(Message):
        """The person clicked a position."""

        def __init__(self, position: int) -> None:
            super().__init__()
            self.position = position

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._found: Sequence[Series] = ()
        self._ends: Sequence[int] = ()
        self._position = START

    def compose(self) -> ComposeResult:
        yield Static(id="plot-names")
        yield PlotWidget(id="plot-lines", allow_pan_and_zoom=False)

    def on_mount(self) -> None:
        plot = self.query_one(PlotWidget)
        plot.can_focus = False
        plot.margin_top, plot.margin_bottom, plot.margin_left = 0, 2, 14

    def show_plot(self, plot: Plot, position: int) -> None:
        """Show a plot, with the line at a position."""
        self._found, self._ends = plot.series, plot.density.last_offsets
        self._position = position
        self.display = True
        self.query_one(PlotWidget).set_x_formatter(
            _TimeAxis(plot.extent, plot.density, self.size.width)
        )
        self.call_after_refresh(self._draw)  # it has no size before layout

    def move_cursor_to(self, position: int) -> None:
        """Move the line of the position. Call it when the position has settled: it redraws everything."""
        self._position = position
        if self._found and self.display:
            self._draw()

    def on_resize(self) -> None:
        if self._found:
            self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        plot = self.query_one(PlotWidget)
        plot.clear()
        here = self._stretch()
        names = []
        for one, color in zip(self._found, _COLORS, strict=False):
            plot.plot(*_series_points(one), line_style=color, hires_mode=HiResMode.BRAILLE)
            name = one.name if one.key is None else f"{one.name} of {one.key}"
            name = shorten(sanitize_line(name), _LONGEST)
            names += [(f" ━ {name} ", color), (f"{self._value_text(one, here)}  ", "bold")]
        low = min(float(np.nanmin(one.low)) for one in self._found)
        high = max(float(np.nanmax(one.high)) for one in self._found)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        plot.set_xlimits(0, max(len(self._ends) - 1, 1))
        plot.set_ylimits(low - room, high + room)
        if here >= 0:
            plot.add_v_line(here, line_style="bold")
        names.append(("click seek · esc close", "$text-muted"))
        self.query_one("#plot-names", Static).update(Content.assemble(*names))

    def _value_text(self, one: Series, here: int) -> str:
        """Return the value at the position; within a stretch in which it varies, its range."""
        if here < 0 or np.isnan(one.high[here]):
            return "–"
        low, high = one.low[here], one.high[here]
        if self._position == self._ends[here]:
            low = high = one.last[here]
        if np.isnan(high):
            return "–"
        return f"{high:,.12g}" if low == high else f"{low:,.12g} … {high:,.12g}"

    def _stretch(self) -> int:
        if self._position == START:
            return -1
        return min(bisect_left(self._ends, self._position), len(self._ends) - 1)

    def on_click(self, event: events.Click) -> None:
        canvas = self.query_one("#plot-lines #plot")
        column = event.screen_x - canvas.region.x
        if self._found and 0 <= column < canvas.region.width:
            share = (column - 1) / max(canvas.region.width - 3, 1)
            stretch = round(max(0.0, min(share, 1.0)) * (len(self._ends) - 1))
            self.post_message(self.SeekRequested(int(self._ends[stretch])))


def _series_points(one: Series) -> tuple[list[float], list[float]]:
    """Return the points of the line: for each stretch its lowest, highest and last value."""
    xs = np.repeat(np.arange(len(one.last), dtype=float), 3)
    ys = np.column_stack([one.low, one.high, one.last]).ravel()
    return xs.tolist(), ys.tolist()


class _TimeAxis(AxisFormatter):
    """Labels stretches with times, or with offsets if the log has no times."""

    def __init__(self, extent: LogExtent, density: EventDensity, width: int) -> None:
        self._extent = extent
        self._density = density
        self._most = max(2, min(width // _TICK, 6))

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Return evenly spaced ticks, few enough for labels as long as a time."""
        return [float(tick) for tick in np.linspace(min_, max_, min(max_ticks, self._most))]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """Return the label of each tick."""
        return [self._label(tick) for tick in ticks]

    def _label(self, tick: float) -> str:
        first, last = self._extent.first_time, self._extent.last_time
        ends = self._density.last_offsets
        if self._density.is_by_time and first is not None and last is not None:
            return format_short_time(first + (last - first) * (tick / max(len(ends) - 1, 1)))
        return f"{ends[max(0, min(round(tick), len(ends) - 1))]:,}"
