"""What was looked for and found: prompts, search, filter, tables of findings, plots, SQL.

Everything is asked in a thread. A question that is on its way can be left with Esc, and then what
it has found by then stays.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual import work
from textual.screen import Screen
from textual.worker import Worker, get_current_worker

from replay.compare.code_edit import Edit
from replay.document import paths
from storage.coordinates.offset_set import offsets
from storage.errors import RefoldError, one_line
from tui.commands import holding
from tui.results import log_queries, projection_queries
from tui.results.prompt_queries import FINDS, PROMPTS, Document, Filter, Found, Matches, Place, find
from tui.results.table import Findings
from tui.state.count_prefix import Count
from tui.state.session import Model
from tui.state.sql_session import RowPlace, SqlSession
from tui.state.view_state import Looking
from tui.widgets.bars import MessageLine, Prompt
from tui.widgets.document_pane import DocumentPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.paged_list import PagedList
from tui.widgets.results_pane import FindingsPane

if TYPE_CHECKING:
    from tui.widgets.plot_pane import PlotPane

Ask = Callable[[], Iterator[Findings]]
Typed = tuple[str, str]
"""What was typed at a prompt: its purpose, and the text."""


class FindsScreen(Screen[None]):
    """The part of the travel screen that looks for things."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self.looking: Looking
        self._count = Count()
        self._matches: Matches | None = None
        self._filtered: Filter | None = None
        self._asking: Worker[None] | None = None
        self._plot_pane: PlotPane | None = None
        self._edit: Edit | None = None
        self._sql = SqlSession()

    @property
    def there(self) -> set[str]:
        """What there is now of that which commands need."""
        history = self._model.history
        return holding(
            history=history is not None,
            failures=history is not None and history.folded.failures > 0,
            document=self.looking.key is not None,
            search=self._matches is not None,
            findings=any(pane.display for pane in self.query(FindingsPane)),
        )

    # What the screen around it does

    @property
    def position(self) -> int:
        """Where time stands."""
        return self.looking.position

    def go(self, position: int, *, jump: bool = True) -> None:
        """Stand after another event."""
        raise NotImplementedError

    def complain(self, message: str) -> None:
        """Say what is wrong."""
        raise NotImplementedError

    def assign(self, text: str) -> None:
        """Give an imported call to the event where time stands."""
        raise NotImplementedError

    def answer(self, text: str) -> None:
        """Answer the call that was missed where time stands."""
        raise NotImplementedError

    def say(self, message: str) -> None:
        """Say what was done."""
        self.query_one(MessageLine).say(message)

    # Prompts

    def prompt(self, purpose: str, value: str = "") -> None:
        """Ask for a line of text."""
        self.query_one(Prompt).ask(purpose, *PROMPTS[purpose], value)

    def on_prompt_closed(self) -> None:
        self.query_one(MessageLine).over()
        self.query_one(EventsPane).focus()

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        self.query_one(EventsPane).focus()
        text = event.text
        if event.purpose == "filter" and not text:
            self.clear_filter()
        elif event.purpose == "when" and text:
            self.ask(partial(projection_queries.when, self._model, text), typed=("when", text))
        elif event.purpose == "log" and text:
            self.ask(partial(projection_queries.logged, self._model, text), typed=("log", text))
        elif event.purpose == "values" and text:
            self._plot(text)
        elif event.purpose == "answer" and text:
            self.answer(text)
        elif event.purpose == "assign" and text:
            self.assign(text)
        elif text and event.purpose in FINDS:
            self._answer(event.purpose, text)

    @work(thread=True, exclusive=True, group="prompt", exit_on_error=False)
    def _answer(self, purpose: str, text: str) -> None:
        """What was typed at a prompt, asked in a thread; an error is said where it was typed."""
        try:
            found = find(self._model, purpose, text)
        except RefoldError as error:
            self.app.call_from_thread(self._complain_of, error.message, (purpose, text))
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            said = f"{text!r} can't be asked: {one_line(error)}"
            self.app.call_from_thread(self._complain_of, said, (purpose, text))
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_from_thread(self._take, found)

    def _complain_of(self, message: str, typed: Typed | None) -> None:
        """Say what is wrong; what was typed is typed again, to be corrected."""
        self.complain(message)
        if typed is not None and self.focused is self.query_one(EventsPane):
            self.prompt(*typed)

    def _take(self, found: Found) -> None:
        self.query_one(MessageLine).over()
        if isinstance(found, Place):
            self.go(found.position)
        elif isinstance(found, Document):
            self.looking.select(found.key)
        elif isinstance(found, Matches):
            self._searched(found)
        else:
            self._filter(found)

    # Search and filter

    def _searched(self, found: Matches) -> None:
        self._go_through(found)
        self.say(f"{len(found.offsets):,} events contain {found.text!r}; n and N go through them.")
        self.go(found.from_here(self.position))

    def _go_through(self, found: Matches | None) -> None:
        """What n and N go through, and the events that are marked."""
        self._matches = found
        self.query_one(EventsPane).mark(found.offsets if found else offsets())
        self.refresh_bindings()

    def action_match(self, way: int) -> None:
        if self._matches is not None and self._matches.offsets:
            self.go(self._matches.step(self.position, way, self._count.times()))

    def _filter(self, found: Filter) -> None:
        self._filtered = found
        events = self.query_one(EventsPane)
        events.show_only(found.offsets, found.text)
        self.go(found.nearest(self.position))
        events.stand_at(self.position)

    def clear_filter(self) -> None:
        """Show all events again."""
        if self._filtered is not None:
            self._filtered = None
            events = self.query_one(EventsPane)
            events.show_all(self._model.extent.events)
            events.stand_at(self.position)

    # Tables of findings

    def ask(self, question: Ask, typed: Typed | None = None) -> None:
        """Ask a question whose answer is a table; `typed` at a prompt, if it was."""
        self._asking = self._ask(question, typed)
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="ask", exit_on_error=False)
    def _ask(self, question: Ask, typed: Typed | None) -> None:
        worker = get_current_worker()
        try:
            for number, findings in enumerate(question()):
                if worker.is_cancelled:
                    return
                self.app.call_from_thread(self._found, findings, number == 0)
        except RefoldError as error:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._complain_of, error.message, typed)
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            said = f"That can't be asked: {one_line(error)}"
            self.app.call_from_thread(self._complain_of, said, typed)

    def stop_asking(self) -> bool:
        """Leave the question that is on its way, if there is one."""
        if self._asking is None or self._asking.is_finished:
            return False
        self._asking.cancel()
        pane = self.query_one(FindingsPane)
        if pane.findings is not None and pane.findings.going_on:
            pane.stopped()
        return True

    def _found(self, findings: Findings, first: bool) -> None:
        pane = self.query_one(FindingsPane)
        pane.show(findings)
        pane.display = True
        self.query_one(MessageLine).over()
        self.close_plot()
        self._go_through(findings.matches())
        if first:
            pane.focus()
        pane.stand_at(self.position)

    def show_edit(self, edit: Edit | None) -> None:
        """Show what an edit of the code did, as far as it is folded; None puts it away."""
        pane = self.query_one(FindingsPane)
        if edit is not None and edit is not self._edit and edit.documents:
            self._found(projection_queries.changed_by(self._model, edit), False)
        elif (
            edit is None
            and pane.findings is not None
            and pane.findings.what == projection_queries.EDIT
        ):
            self.close_findings()
        self._edit = edit

    def close_findings(self) -> bool:
        """Put the table away, if there is one."""
        pane = self.query_one(FindingsPane)
        if not pane.display:
            return False
        if pane.has_focus:
            self.query_one(EventsPane).focus()
        pane.display = False
        self._go_through(None)
        return True

    def pick_finding(self, event: PagedList.Picked) -> None:
        """A row of the table was moved to: time follows, and the document is looked at."""
        pane = self.query_one(FindingsPane)
        row = pane.row(event.line)
        if row is None:
            if pane.findings is not None:
                self.go(pane.findings.at[event.line], jump=False)
            return
        if row.key is not None and row.pinned:
            self.looking.select(row.key)
        elif row.key is not None and row.key != self.looking.key:
            self.looking.key = row.key
            self.looking.look()
        if row.path is not None:
            self.query_one(DocumentPane).point_at(row.path)
        self.go(row.offset, jump=False)

    def action_pick_finding(self) -> None:
        """Go to the row on which the table's cursor stands."""
        pane = self.query_one(FindingsPane)
        pane.move_cursor(max(pane.cursor, 0))

    def action_when(self) -> None:
        self.prompt("when")

    def action_changes_of_value(self) -> None:
        """All changes of the value under the document's cursor."""
        key, path = self.looking.key, self.query_one(DocumentPane).path
        self.ask(partial(projection_queries.changes_of, self._model, key, path))

    def action_broken(self) -> None:
        self.ask(partial(projection_queries.broken, self._model))

    def action_failures(self) -> None:
        self.ask(partial(projection_queries.failures, self._model))

    def action_unhandled(self) -> None:
        self.ask(partial(projection_queries.unhandled, self._model))

    def action_irregular(self) -> None:
        """Ids that come again, revisions that jump, times that run backwards."""
        self.ask(partial(log_queries.irregular, self._model))

    def action_causes(self) -> None:
        self.ask(partial(log_queries.caused, self._model, self.position))

    def action_logpoint(self) -> None:
        snapshot = self.looking.snapshot
        kind = snapshot.event.type if snapshot and snapshot.event else None
        self.prompt("log", f"{kind}: " if kind else "")

    # Values over time

    def action_values(self) -> None:
        path = self.query_one(DocumentPane).path
        self.prompt("values", paths.as_expression("state", path) if path else "")

    def _plot(self, text: str) -> None:
        from tui.widgets.plot_pane import PlotPane  # noqa: PLC0415 - numpy is for plots only

        if self._plot_pane is None:
            self._plot_pane = PlotPane(self._model, id="plotted")
            self.mount(self._plot_pane, before="#prompt")
        self.close_findings()
        self._plot_pane.stand_at(self.position)
        self._plot_pane.ask(text, projection_queries.separated(text), self.looking.key)

    def on_plot_pane_sought(self, event: "PlotPane.Sought") -> None:
        self.go(event.position)

    def on_plot_pane_troubled(self, event: "PlotPane.Troubled") -> None:
        self.complain(event.message)

    def stand_in_plot(self) -> None:
        """Show the position in the plot, if there is one; it takes longer than a step may."""
        if self._plot_pane is not None:
            self._plot_pane.stand_at(self.position)

    @property
    def plotted(self) -> bool:
        """Whether a plot is to be seen."""
        return self._plot_pane is not None and self._plot_pane.display

    def close_plot(self) -> bool:
        """Put the plot away, if there is one."""
        if self._plot_pane is None or not self.plotted:
            return False
        self._plot_pane.display = False
        return True

    # SQL

    def action_sql(self) -> None:
        from tui.screens.dialogs.sql import SqlScreen  # noqa: PLC0415 - an editor takes its time to import

        self.app.push_screen(SqlScreen(self._model, self._sql), self._go_to_row)

    def _go_to_row(self, place: RowPlace | None) -> None:
        if place is not None:
            self.go(place.offset)
            if place.key is not None and self._model.history is not None:
                self.looking.select(place.key)
