"""Plots of values over time, below the panes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from replay.document import paths
from tui.results import projection_queries
from tui.screens.main.ports import Notifier, PathCursor, Prompts
from tui.screens.main.results import ResultsController
from tui.state.query_runner import QueryRunner
from tui.state.view_state import LowerPane, ViewChange, ViewState

if TYPE_CHECKING:
    from tui.results.plot_query import Plot


class PlotView(Protocol):
    """The pane with the plot."""

    def show_plot(self, plot: "Plot", position: int) -> None: ...

    def move_cursor_to(self, position: int) -> None: ...


class PlotController:
    """Computes the values in a thread, and shows them."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        results: ResultsController,
        document: PathCursor,
        create_pane: Callable[[], PlotView],
    ) -> None:
        """`create_pane` mounts the pane; it is called for the first plot."""
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._results = results
        self._document = document
        self._create_pane = create_pane
        self._pane: PlotView | None = None
        prompts.answer_with("values", self.plot)
        state.observe(self.close, ViewChange.TIMELINE)

    @property
    def is_open(self) -> bool:
        """Whether a plot is shown."""
        return self._state.view.lower_pane is LowerPane.PLOT

    def open_prompt(self) -> None:
        """Ask what to plot; the value under the document's cursor is proposed."""
        path = self._document.path
        self._prompts.open("values", paths.format_as_expression("state", path) if path else "")

    def plot(self, text: str) -> None:
        """Plot expressions, separated by commas."""
        from tui.results import plot_query  # noqa: PLC0415 - only plots need numpy

        if self._pane is None:
            self._pane = self._create_pane()
        self._results.close()
        data, key = self._state.data, self._state.key
        names = projection_queries.split_expressions(text)
        self._runner.run(
            lambda _: plot_query.query_plot(data, names, key),
            self._show,
            group="plot",
            failure=f"{text!r} can't be plotted",
        )

    def _show(self, plot: "Plot") -> None:
        self._state.show_lower_pane(LowerPane.PLOT)
        if self._pane is not None:
            self._pane.show_plot(plot, self._state.position)

    def move_cursor(self) -> None:
        """Move the position line. Call it when the position has settled: it redraws the plot."""
        if self._pane is not None and self.is_open:
            self._pane.move_cursor_to(self._state.position)

    def close(self) -> bool:
        """Close the plot; return whether there was one."""
        if not self.is_open:
            return False
        self._state.show_lower_pane(LowerPane.NONE)
        return True
