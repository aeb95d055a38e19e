"""The density strip: the overview of the log, then its lanes, each queried in a thread."""

from collections.abc import Sequence
from typing import Protocol

from storage.workspace.workspace import Workspace
from tui.state.lanes import Lane, Lanes
from tui.state.overview import MAX_LANES, Overview, query_overview
from tui.state.query_runner import QueryRunner
from tui.state.view_state import ViewChange, ViewState


class StripView(Protocol):
    """The strip widget."""

    def show_overview(self, overview: Overview) -> None: ...


class StripController:
    """Queries what the strip shows."""

    def __init__(self, state: ViewState, runner: QueryRunner, strip: StripView) -> None:
        self._state = state
        self._runner = runner
        self._strip = strip
        self._columns = 1
        self._cache: tuple[Workspace, int, Lanes] | None = None
        """The lanes of a timeline of this length."""
        self._lanes: Sequence[Lane] = ()
        state.observe(self._on_timeline, ViewChange.TIMELINE)
        state.observe(self.refresh, ViewChange.LOG, ViewChange.HISTORY)

    def resize(self, columns: int) -> None:
        """Query the overview for another number of columns."""
        self._columns = columns
        self._refresh_overview()

    def refresh(self) -> None:
        """Query the overview and the lanes again."""
        self._refresh_overview()
        self.refresh_lanes()

    def refresh_lanes(self) -> None:
        """Query the lanes again, and redraw the strip if they changed."""
        data = self._state.data
        cache = self._lanes_of(data.workspace, data.extent.event_count)
        self._runner.run(
            lambda _: cache.query_lanes(data.history, complete=data.is_folded_to_end),
            self._take_lanes,
            group="lanes",
            failure="The lanes can't be shown",
        )

    def _on_timeline(self) -> None:
        self._lanes = ()
        self._refresh_overview()

    def _refresh_overview(self) -> None:
        data, lanes, columns = self._state.data, self._lanes, self._columns
        self._runner.run(
            lambda _: query_overview(data, lanes, columns),
            self._strip.show_overview,
            group="overview",
            failure="The overview can't be shown",
        )

    def _take_lanes(self, found: Sequence[Lane]) -> None:
        before, self._lanes = self._lanes, found[:MAX_LANES]
        if self._lanes != before:
            self._refresh_overview()

    def _lanes_of(self, workspace: Workspace, events: int) -> Lanes:
        if self._cache is None or self._cache[:2] != (workspace, events):
            self._cache = (workspace, events, Lanes(workspace))
        return self._cache[2]
