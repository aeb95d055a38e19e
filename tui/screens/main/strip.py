"""The controller of the density strip: queries the overview of the log, then the lanes.

Both queries run in threads; a new query replaces a running one of its kind.
"""

from collections.abc import Callable
from functools import partial

from textual.screen import Screen
from textual.worker import get_current_worker

from storage.errors import RefoldError
from tui.state.session import Session
from tui.state.snapshot import Overview
from tui.widgets.density_strip import DensityStrip


class StripController:
    """Queries what the strip of a screen shows."""

    def __init__(
        self, screen: Screen[None], model: Session, complain: Callable[[str], None]
    ) -> None:
        self._screen = screen
        self._model = model
        self._complain = complain

    @property
    def _strip(self) -> DensityStrip:
        return self._screen.query_one(DensityStrip)

    def move_cursor_to(self, position: int) -> None:
        """Move the strip's cursor to a position."""
        self._strip.move_cursor_to(position)

    def refresh_overview(self, columns: int | None = None) -> None:
        """Query the overview again, for a number of columns (default: the strip's width)."""
        wanted = max(self._strip.size.width, 1) if columns is None else columns
        self._run(partial(self._query_overview, wanted), "overview")

    def refresh_lanes(self) -> None:
        """Query the lanes again, and redraw the strip if they changed."""
        self._run(self._query_lanes, "lanes")

    def _run(self, work: Callable[[], None], group: str) -> None:
        self._screen.run_worker(work, thread=True, exclusive=True, group=group, exit_on_error=False)

    def _query_overview(self, columns: int) -> None:
        overview = self._model.overview(columns)
        if not get_current_worker().is_cancelled:
            self._screen.app.call_from_thread(self._show_overview, overview)

    def _show_overview(self, overview: Overview) -> None:
        self._strip.show_overview(overview)

    def _query_lanes(self) -> None:
        others = False
        try:
            others = self._model.refresh_lanes()
        except RefoldError as error:
            self._screen.app.call_from_thread(self._complain, error.message)
        if others and not get_current_worker().is_cancelled:
            self._screen.app.call_from_thread(self.refresh_overview)
