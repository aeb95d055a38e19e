"""Many forks at once: a sweep is asked for in a form, folded in a thread, and its outcomes listed.

None of its forks is kept but those that are opened. The outcomes stay at hand, so that one after
the other can be looked at.
"""

from textual import work
from textual.worker import get_current_worker

from replay.forks.sweep import variants
from replay.forks.sweep.variants import Variant
from replay.history.history import History
from replay.projection.reference import Reference
from storage.errors import CancelledError, QueryError, RefoldError
from storage.timelines import workspace_view
from tui.results.sweep_table import Table, Wish
from tui.screens.dialogs.sweep_form import SweepForm
from tui.screens.dialogs.sweep_results import OutcomesScreen
from tui.screens.main.forks import ForksScreen


class SweepsScreen(ForksScreen):
    """The part of the travel screen that forks many times at once."""

    _wish = Wish()
    """What was swept last, or wished for."""
    _table: Table | None = None
    """What it came to."""

    def action_sweep(self) -> None:
        """List the outcomes of the last sweep; where there are none, ask for one."""
        if self._table is not None:
            self._list(self._table)
        else:
            self._ask_wish()

    def _ask_wish(self) -> None:
        here = self._model.shown(self.position)
        self.app.push_screen(SweepForm(self._wish, here), self._sweep_wished)

    def _sweep_wished(self, wish: Wish | None) -> None:
        if wish is None:
            return
        self._wish = wish
        wanted, history = self._folds.current, self._model.history
        if wanted is None or history is None or self._folds.running:
            self.complain("A sweep begins when the projection is folded.")
            return
        self._asking = self._sweep(wish, wanted, history)
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="ask", exit_on_error=False)
    def _sweep(self, wish: Wish, wanted: Reference, history: History) -> None:
        from replay.forks.sweep import fork_sweep  # noqa: PLC0415 - it imports Arrow, and the first paint needn't

        worker, call, base = get_current_worker(), self.app.call_from_thread, history.folded
        try:
            if base.folded < self._model.extent.events:
                raise QueryError("A sweep begins when the projection is folded to the end.")
            name = variants.free_name(one.name for one in self._model.timelines)
            varied = wish.variants(self._workspace, name, self.position)
            many = f"{len(varied):,}"

            def progress(done: int) -> None:
                call(self.say, f"Sweeping: {done:,} of {many} forks; Esc stops.")

            progress(0)
            swept = fork_sweep.sweep(
                self._workspace,
                wanted,
                base,
                varied,
                wish.aggregates,
                on_progress=progress,
                cancelled=lambda: worker.is_cancelled,
            )
        except CancelledError as error:
            call(self.say, error.message)
        except RefoldError as error:
            call(self.complain, error.message)
        else:
            if not worker.is_cancelled:
                call(self._swept, Table(wish, swept))

    def _swept(self, table: Table) -> None:
        self._table = table
        self._list(table)

    def _list(self, table: Table) -> None:
        self.app.push_screen(OutcomesScreen(table), self._chose)

    def _chose(self, chosen: Variant | str | None) -> None:
        if isinstance(chosen, Variant):
            self._open_variant(chosen)
        elif chosen is not None:
            self._ask_wish()

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _open_variant(self, chosen: Variant) -> None:
        """Look at a fork, which is kept from now on."""
        name = chosen.seen.timeline
        try:
            if name in {one.name for one in self._model.timelines}:
                self._look_at(workspace_view.on(self._workspace.file, name))
            else:
                self._look_at(chosen.seen, keep=self._folds.current is None)
        except RefoldError as error:
            self.app.call_from_thread(self.complain, error.message)
