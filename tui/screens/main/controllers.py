"""All controllers of the main screen, each created with the objects that it needs."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from tui.folding.controller import FoldController
from tui.screens.main.bookmarks import BookmarkController
from tui.screens.main.calls import CallController
from tui.screens.main.clipboard import ClipboardController
from tui.screens.main.code import CodeController
from tui.screens.main.comparison import ComparisonController
from tui.screens.main.forks import ForkController
from tui.screens.main.handler_commands import HandlerCommandController
from tui.screens.main.idle import IdleController, standard_terminal
from tui.screens.main.log_follow import FollowController
from tui.screens.main.merges import MergeController
from tui.screens.main.navigation import NavigationController
from tui.screens.main.panes import Panes
from tui.screens.main.playback import PlaybackController
from tui.screens.main.plots import PlotController, PlotView
from tui.screens.main.ports import Clipboard, Notifier, Scheduler, ScreenOpener
from tui.screens.main.prompts import PromptController
from tui.screens.main.results import ResultsController
from tui.screens.main.search import SearchController
from tui.screens.main.snapshots import SnapshotController
from tui.screens.main.sql import SqlController
from tui.screens.main.strip import StripController
from tui.screens.main.sweeps import SweepController
from tui.screens.main.timelines import TimelineController
from tui.state.count_prefix import CountPrefix
from tui.state.query_runner import QueryRunner
from tui.state.snapshot import LateDetails
from tui.state.view_state import ViewState


class Host(Scheduler, ScreenOpener, Clipboard, Protocol):
    """What controllers need of the main screen and its application."""

    def call_after_refresh(self, callback: Callable[..., object], *values: object) -> object: ...

    def debug(self, *place: Any) -> None:
        """Step into a handler; the debugger has the terminal until it ends."""

    def end(self) -> None:
        """End the application because its terminal is gone."""

    def show_banner(self, text: str) -> None:
        """Show the what-if banner while the timeline is hypothetical; an empty text hides it."""

    def create_plot_pane(self) -> PlotView:
        """Mount the pane for plots."""

    def on_settled(self) -> None:
        """Called when the position has not changed for a moment."""

    def on_late_details(self, details: LateDetails) -> None:
        """Called when the slower details of a position have arrived."""

    def focused_text(self) -> str:
        """Return the JSON of the pane that has the focus."""


class Controllers:
    """The controllers, by topic."""

    def __init__(
        self,
        state: ViewState,
        folds: FoldController,
        panes: Panes,
        runner: QueryRunner,
        notifier: Notifier,
        host: Host,
    ) -> None:
        self.count = CountPrefix()
        document, events = panes.document, panes.events
        shared = state, runner, notifier
        self.prompts = prompts = PromptController(
            panes.prompt, events, notifier, host.call_after_refresh
        )
        self.snapshots = SnapshotController(
            state,
            runner,
            host,
            notifier,
            on_settled=host.on_settled,
            on_late_details=host.on_late_details,
        )
        self.navigation = NavigationController(*shared, document, self.count)
        self.playback = PlaybackController(state, self.navigation, notifier)
        self.search = SearchController(*shared, prompts, self.navigation, events, self.count)
        self.results = ResultsController(
            *shared, prompts, self.navigation, self.search, panes.results, document, events
        )
        self.plots = PlotController(*shared, prompts, self.results, document, host.create_plot_pane)
        self.sql = SqlController(state, self.navigation, host)
        self.strip = StripController(state, runner, panes.strip)
        self.bookmarks = BookmarkController(
            *shared, prompts, self.search, self.results, document, self.strip.refresh_lanes
        )
        self.clipboard = ClipboardController(state, notifier, host, document, host.focused_text)
        self.code = CodeController(state, runner, panes.code, document)
        self.handler = HandlerCommandController(*shared, folds, host.debug)
        self.calls = CallController(*shared, prompts, folds)
        self.merges = MergeController(*shared, prompts, self.results, folds)
        self.timelines = TimelineController(*shared, prompts, host, self.merges.ask_name)
        self.forks = ForkController(
            state, notifier, prompts, host, self.timelines, self.calls, self.search
        )
        self.comparison = ComparisonController(
            state,
            runner,
            self.results,
            folds,
            panes.compared,
            host.show_banner,
            self.snapshots.request,
        )
        self.sweeps = SweepController(*shared, host, self.timelines, folds)
        self.follow = FollowController(state, runner, folds, partial(self._is_in_use, folds))
        self.idle = IdleController(state, runner, host.end, standard_terminal())

    def _is_in_use(self, folds: FoldController) -> bool:
        """Return whether the person works with something that another timeline would close."""
        has_filter = self.navigation.list_filter is not None
        is_open = self.results.is_open or self.plots.is_open
        return folds.running or has_filter or self.search.matches is not None or is_open
