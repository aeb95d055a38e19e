"""Sweeps: fill in a form, fold the forks in a thread, list the results.

Only a fork that the person opens is saved. The results stay until the next sweep.
"""

from typing import Protocol

from replay.forks.sweep import variants
from replay.forks.sweep.variants import SweepVariant
from replay.projection.projection_reference import Reference
from storage.errors import CancelledError, QueryError
from tui.results.sweep_table import SweepSpec, SweepTable
from tui.screens.dialogs.sweep_form import SweepForm
from tui.screens.dialogs.sweep_results import SweepResultsScreen
from tui.screens.main.ports import Notifier, ScreenOpener
from tui.screens.main.results import QUERY_GROUP
from tui.screens.main.timelines import TimelineController
from tui.state.query_runner import Query, QueryRunner
from tui.state.shown_data import ShownData
from tui.state.view_state import ViewState


class RunningFolds(Protocol):
    """The folds, as far as a sweep needs them."""

    @property
    def current(self) -> Reference | None: ...

    @property
    def running(self) -> bool: ...


class SweepController:
    """Runs one sweep at a time."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        screens: ScreenOpener,
        timelines: TimelineController,
        folds: RunningFolds,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._screens = screens
        self._timelines = timelines
        self._folds = folds
        self._spec = SweepSpec()
        """The last sweep that was entered."""
        self._table: SweepTable | None = None
        """The results of the last sweep."""

    def open(self) -> None:
        """Show the results of the last sweep; without results, open the form."""
        if self._table is not None:
            self._show_results(self._table)
        else:
            self._open_form()

    def _open_form(self) -> None:
        here = self._state.data.position_label(self._state.position)
        self._screens.push_screen(SweepForm(self._spec, here), self._on_form_closed)

    def _on_form_closed(self, spec: SweepSpec | None) -> None:
        if spec is None:
            return
        self._spec = spec
        data, position, wanted = self._state.data, self._state.position, self._folds.current
        if wanted is None or data.history is None or self._folds.running:
            self._notifier.show_error(
                "A sweep needs a folded projection. Wait for the fold, or start refold with -p FILE."
            )
            return
        self._runner.run(
            lambda query: self._run(query, spec, wanted, data, position),
            self._on_done,
            group=QUERY_GROUP,
            failure="The sweep failed",
        )

    def _run(
        self, query: Query, spec: SweepSpec, wanted: Reference, data: ShownData, position: int
    ) -> SweepTable | None:
        """Fold the forks, in a thread."""
        from replay.forks.sweep import fork_sweep  # noqa: PLC0415 - it imports Arrow, which would delay the first paint

        if data.history is None or not data.is_folded_to_end:
            raise QueryError(
                "A sweep needs a projection folded to the end of the log. Press r to fold it."
            )
        name = variants.choose_free_name(data.fork_names)
        varied = spec.variants(data.workspace, name, position)

        def progress(done: int) -> None:
            message = f"Sweep: {done:,} of {len(varied):,} forks folded · esc stop"
            query.report(self._notifier.show_message, message)

        progress(0)
        try:
            swept = fork_sweep.sweep_variants(
                data.workspace,
                wanted,
                data.history.fold_record,
                varied,
                spec.aggregates,
                on_progress=progress,
                is_cancelled=lambda: query.is_cancelled,
            )
        except CancelledError as error:
            query.report_cancellation(self._notifier.show_message, error.message)
            return None
        return SweepTable(spec, swept)

    def _on_done(self, table: SweepTable | None) -> None:
        if table is not None:
            self._table = table
            self._show_results(table)

    def _show_results(self, table: SweepTable) -> None:
        self._screens.push_screen(SweepResultsScreen(table), self._on_result_chosen)

    def _on_result_chosen(self, chosen: SweepVariant | str | None) -> None:
        if isinstance(chosen, SweepVariant):
            is_saved = self._folds.current is None  # else its fold saves it
            self._timelines.open_variant(chosen.forked_workspace, is_saved=is_saved)
        elif chosen is not None:
            self._open_form()
