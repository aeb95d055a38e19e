"""Sweeps: fill in a form, fold the forks in a thread, list the results.

Only a fork that the person opens is saved. The results stay until the next sweep.
"""

from textual import work
from textual.worker import get_current_worker

from replay.forks.sweep import variants
from replay.forks.sweep.variants import SweepVariant
from replay.history.history import History
from replay.projection.projection_reference import Reference
from storage.errors import CancelledError, QueryError, RefoldError
from storage.timelines import forked_workspace
from tui.results.sweep_table import SweepSpec, SweepTable
from tui.screens.dialogs.sweep_form import SweepForm
from tui.screens.dialogs.sweep_results import SweepResultsScreen
from tui.screens.main.forks import ForksScreen


class SweepsScreen(ForksScreen):
    """The part of the main screen that runs sweeps."""

    _wish = SweepSpec()
    """The last sweep that was entered."""
    _table: SweepTable | None = None
    """The results of the last sweep."""

    def action_sweep(self) -> None:
        """Show the results of the last sweep; without results, open the form."""
        if self._table is not None:
            self._show_results(self._table)
        else:
            self._open_form()

    def _open_form(self) -> None:
        here = self._model.position_label(self.position)
        self.app.push_screen(SweepForm(self._wish, here), self._on_form_closed)

    def _on_form_closed(self, wish: SweepSpec | None) -> None:
        if wish is None:
            return
        self._wish = wish
        wanted, history = self._folds.current, self._model.history
        if wanted is None or history is None or self._folds.running:
            self.show_error(
                "A sweep needs a folded projection. Wait for the fold, or start refold with -p FILE."
            )
            return
        self._asking = self._run_sweep(wish, wanted, history)
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="ask", exit_on_error=False)
    def _run_sweep(self, wish: SweepSpec, wanted: Reference, history: History) -> None:
        from replay.forks.sweep import fork_sweep  # noqa: PLC0415 - it imports Arrow, which would delay the first paint

        worker, call, base = get_current_worker(), self.app.call_from_thread, history.fold_record
        try:
            if base.next_offset < self._model.extent.event_count:
                raise QueryError(
                    "A sweep needs a projection folded to the end of the log. Press r to fold it."
                )
            name = variants.choose_free_name(one.name for one in self._model.timelines)
            varied = wish.variants(self._workspace, name, self.position)
            many = f"{len(varied):,}"

            def progress(done: int) -> None:
                call(self.show_message, f"Sweep: {done:,} of {many} forks folded · esc stop")

            progress(0)
            swept = fork_sweep.sweep_variants(
                self._workspace,
                wanted,
                base,
                varied,
                wish.aggregates,
                on_progress=progress,
                is_cancelled=lambda: worker.is_cancelled,
            )
        except CancelledError as error:
            call(self.show_message, error.message)
        except RefoldError as error:
            call(self.show_error, error.message)
        else:
            if not worker.is_cancelled:
                call(self._on_sweep_done, SweepTable(wish, swept))

    def _on_sweep_done(self, table: SweepTable) -> None:
        self._table = table
        self._show_results(table)

    def _show_results(self, table: SweepTable) -> None:
        self.app.push_screen(SweepResultsScreen(table), self._on_result_chosen)

    def _on_result_chosen(self, chosen: SweepVariant | str | None) -> None:
        if isinstance(chosen, SweepVariant):
            self._open_variant(chosen)
        elif chosen is not None:
            self._open_form()

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _open_variant(self, chosen: SweepVariant) -> None:
        """Open the fork of a result, and save it."""
        name = chosen.forked_workspace.timeline
        try:
            if name in {one.name for one in self._model.timelines}:
                self._open_timeline(
                    forked_workspace.open_timeline(self._workspace.main_workspace, name)
                )
            else:
                self._open_timeline(chosen.forked_workspace, keep=self._folds.current is None)
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)
