"""Searching: prompts, search, filter, result tables, plots, SQL.

Every query runs in a thread. Esc stops a running query; the rows found by then stay.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual import work
from textual.screen import Screen
from textual.worker import Worker, get_current_worker

from replay.compare.code_edit import CodeEditComparison
from replay.document import paths
from storage.coordinates.offset_set import pack_offsets
from storage.errors import RefoldError, summarize_error
from storage.plural import format_count
from tui.commands import requirement_names
from tui.results import log_queries, projection_queries
from tui.results.prompt_queries import (
    ANSWERED_PROMPTS,
    PROMPTS,
    DocumentAnswer,
    ListFilter,
    PositionAnswer,
    PromptAnswer,
    SearchMatches,
    answer_prompt,
)
from tui.results.table import ResultTable
from tui.state.count_prefix import CountPrefix
from tui.state.session import Session
from tui.state.sql_session import RowTarget, SqlSession
from tui.state.view_state import ViewState
from tui.widgets.bars import MessageLine, Prompt
from tui.widgets.document_pane import DocumentPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.paged_list import PagedList
from tui.widgets.results_pane import ResultsPane

if TYPE_CHECKING:
    from tui.widgets.plot_pane import PlotPane

TableQuery = Callable[[], Iterator[ResultTable]]
PromptInput = tuple[str, str]
"""The purpose of a prompt, and the text typed at it."""


class SearchScreen(Screen[None]):
    """The part of the main screen that searches."""

    def __init__(self, model: Session) -> None:
        super().__init__()
        self._model = model
        self.looking: ViewState
        self._count = CountPrefix()
        self._matches: SearchMatches | None = None
        self._filtered: ListFilter | None = None
        self._asking: Worker[None] | None = None
        self._plot_pane: PlotPane | None = None
        self._edit: CodeEditComparison | None = None
        self._sql = SqlSession()

    @property
    def available_needs(self) -> set[str]:
        """Names of the command requirements that are met now, see `tui.commands`."""
        history = self._model.history
        return requirement_names(
            history=history is not None,
            failures=history is not None and history.fold_record.failure_count > 0,
            document=self.looking.key is not None,
            search=self._matches is not None,
            findings=any(pane.display for pane in self.query(ResultsPane)),
        )

    # Implemented by subclasses

    @property
    def position(self) -> int:
        """The current position."""
        return self.looking.position

    def go(self, position: int, *, jump: bool = True) -> None:
        """Move to a position; with `jump` the old position is remembered for ctrl+o."""
        raise NotImplementedError

    def show_error(self, message: str) -> None:
        """Show an error in the message line."""
        raise NotImplementedError

    def assign_call(self, text: str) -> None:
        """Link an imported call to the event at the position."""
        raise NotImplementedError

    def answer_call(self, text: str) -> None:
        """Answer the missed call of the event at the position."""
        raise NotImplementedError

    def show_message(self, message: str) -> None:
        """Show a confirmation in the message line."""
        self.query_one(MessageLine).show_message(message)

    # Prompts

    def prompt(self, purpose: str, value: str = "") -> None:
        """Open the prompt of a purpose, see `PROMPTS`."""
        self.query_one(Prompt).open(purpose, *PROMPTS[purpose], value)

    def on_prompt_closed(self) -> None:
        self.query_one(MessageLine).clear_error()
        self.query_one(EventsPane).focus()

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        self.query_one(EventsPane).focus()
        text = event.text
        if event.purpose == "filter" and not text:
            self.clear_filter()
        elif event.purpose == "when" and text:
            self.run_query(
                partial(projection_queries.condition_transitions, self._model, text),
                typed=("when", text),
            )
        elif event.purpose == "log" and text:
            self.run_query(
                partial(projection_queries.logpoint_rows, self._model, text), typed=("log", text)
            )
        elif event.purpose == "values" and text:
            self._plot(text)
        elif event.purpose == "answer" and text:
            self.answer_call(text)
        elif event.purpose == "assign" and text:
            self.assign_call(text)
        elif text and event.purpose in ANSWERED_PROMPTS:
            self._answer_prompt(event.purpose, text)

    @work(thread=True, exclusive=True, group="prompt", exit_on_error=False)
    def _answer_prompt(self, purpose: str, text: str) -> None:
        """Answer a prompt in a thread; an error opens the prompt again."""
        try:
            found = answer_prompt(self._model, purpose, text)
        except RefoldError as error:
            self.app.call_from_thread(self._show_prompt_error, error.message, (purpose, text))
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            message = f"{text!r} failed: {summarize_error(error)}"
            self.app.call_from_thread(self._show_prompt_error, message, (purpose, text))
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_from_thread(self._show_prompt_answer, found)

    def _show_prompt_error(self, message: str, typed: PromptInput | None) -> None:
        """Show an error, and open the prompt again with the text that caused it."""
        self.show_error(message)
        if typed is not None and self.focused is self.query_one(EventsPane):
            self.prompt(*typed)

    def _show_prompt_answer(self, found: PromptAnswer) -> None:
        self.query_one(MessageLine).clear_error()
        if isinstance(found, PositionAnswer):
            self.go(found.position)
        elif isinstance(found, DocumentAnswer):
            self.looking.select_document(found.key)
        elif isinstance(found, SearchMatches):
            self._show_matches(found)
        else:
            self._show_filter(found)

    # Search and filter

    def _show_matches(self, found: SearchMatches) -> None:
        self._set_matches(found)
        self.show_message(
            f"{format_count(len(found.offsets), 'event')} with {found.text!r}: n next, N previous."
        )
        self.go(found.first_match_from(self.position))

    def _set_matches(self, found: SearchMatches | None) -> None:
        """Set the matches that n and N go through and that the event list marks."""
        self._matches = found
        self.query_one(EventsPane).mark_matches(found.offsets if found else pack_offsets())
        self.refresh_bindings()

    def action_match(self, way: int) -> None:
        if self._matches is not None and self._matches.offsets:
            self.go(self._matches.step(self.position, way, self._count.take_repetitions()))

    def _show_filter(self, found: ListFilter) -> None:
        self._filtered = found
        events = self.query_one(EventsPane)
        events.show_only(found.offsets, found.text)
        self.go(found.nearest_offset(self.position))
        events.move_cursor_to(self.position)

    def clear_filter(self) -> None:
        """Show all events again."""
        if self._filtered is not None:
            self._filtered = None
            events = self.query_one(EventsPane)
            events.show_all(self._model.extent.event_count)
            events.move_cursor_to(self.position)

    # Result tables

    def run_query(self, question: TableQuery, typed: PromptInput | None = None) -> None:
        """Run a query whose result is a table; `typed` is the prompt input to correct on an error."""
        self._asking = self._query_in_thread(question, typed)
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="ask", exit_on_error=False)
    def _query_in_thread(self, question: TableQuery, typed: PromptInput | None) -> None:
        worker = get_current_worker()
        try:
            for number, findings in enumerate(question()):
                if worker.is_cancelled:
                    return
                self.app.call_from_thread(self._show_table, findings, number == 0)
        except RefoldError as error:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._show_prompt_error, error.message, typed)
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            message = f"The query failed: {summarize_error(error)}"
            self.app.call_from_thread(self._show_prompt_error, message, typed)

    def stop_query(self) -> bool:
        """Stop the running query; return whether there was one."""
        if self._asking is None or self._asking.is_finished:
            return False
        self._asking.cancel()
        pane = self.query_one(ResultsPane)
        if pane.findings is not None and pane.findings.is_growing:
            pane.stop_growing()
        return True

    def _show_table(self, findings: ResultTable, first: bool) -> None:
        pane = self.query_one(ResultsPane)
        pane.show_table(findings)
        pane.display = True
        self.query_one(MessageLine).clear_error()
        self.close_plot()
        self._set_matches(findings.matches())
        if first:
            pane.focus()
        pane.move_cursor_to(self.position)

    def show_code_edit(self, edit: CodeEditComparison | None) -> None:
        """Show the documents that a code edit changed, as far as it is folded; None closes the table."""
        pane = self.query_one(ResultsPane)
        if edit is not None and edit is not self._edit and edit.differing_documents:
            self._show_table(projection_queries.documents_changed_by_edit(self._model, edit), False)
        elif (
            edit is None
            and pane.findings is not None
            and pane.findings.title == projection_queries.EDIT
        ):
            self.close_results()
        self._edit = edit

    def close_results(self) -> bool:
        """Close the result table; return whether there was one."""
        pane = self.query_one(ResultsPane)
        if not pane.display:
            return False
        if pane.has_focus:
            self.query_one(EventsPane).focus()
        pane.display = False
        self._set_matches(None)
        return True

    def go_to_picked_row(self, event: PagedList.Picked) -> None:
        """Move to the position and the document of the selected row."""
        pane = self.query_one(ResultsPane)
        row = pane.row(event.line)
        if row is None:
            if pane.findings is not None:
                self.go(pane.findings.offsets[event.line], jump=False)
            return
        if row.key is not None and row.keeps_document:
            self.looking.select_document(row.key)
        elif row.key is not None and row.key != self.looking.key:
            self.looking.key = row.key
            self.looking.request_snapshot()
        if row.path is not None:
            self.query_one(DocumentPane).point_at(row.path)
        self.go(row.offset, jump=False)

    def action_pick_finding(self) -> None:
        """Go to the row under the cursor of the result table."""
        pane = self.query_one(ResultsPane)
        pane.move_cursor(max(pane.cursor, 0))

    def action_when(self) -> None:
        self.prompt("when")

    def action_changes_of_value(self) -> None:
        """List all changes of the value under the cursor of the document."""
        key, path = self.looking.key, self.query_one(DocumentPane).path
        self.run_query(partial(projection_queries.value_changes, self._model, key, path))

    def action_broken(self) -> None:
        self.run_query(partial(projection_queries.invariant_violations, self._model))

    def action_failures(self) -> None:
        self.run_query(partial(projection_queries.handler_failures, self._model))

    def action_unhandled(self) -> None:
        self.run_query(partial(projection_queries.unhandled_types, self._model))

    def action_irregular(self) -> None:
        """List repeated ids, gaps in revisions, and times that run backwards."""
        self.run_query(partial(log_queries.list_irregularities, self._model))

    def action_causes(self) -> None:
        self.run_query(partial(log_queries.causation_tree, self._model, self.position))

    def action_logpoint(self) -> None:
        snapshot = self.looking.snapshot
        kind = snapshot.event.type if snapshot and snapshot.event else None
        self.prompt("log", f"{kind}: " if kind else "")

    # Values over time

    def action_values(self) -> None:
        path = self.query_one(DocumentPane).path
        self.prompt("values", paths.format_as_expression("state", path) if path else "")

    def _plot(self, text: str) -> None:
        from tui.widgets.plot_pane import PlotPane  # noqa: PLC0415 - only plots need numpy

        if self._plot_pane is None:
            self._plot_pane = PlotPane(self._model, id="plotted")
            self.mount(self._plot_pane, before="#prompt")
        self.close_results()
        self._plot_pane.move_cursor_to(self.position)
        self._plot_pane.request_plot(
            text, projection_queries.split_expressions(text), self.looking.key
        )

    def on_plot_pane_seek_requested(self, event: "PlotPane.SeekRequested") -> None:
        self.go(event.position)

    def on_plot_pane_plot_failed(self, event: "PlotPane.PlotFailed") -> None:
        self.show_error(event.message)

    def show_position_in_plot(self) -> None:
        """Move the position line of the plot. Call it when the position has settled: it redraws the plot."""
        if self._plot_pane is not None:
            self._plot_pane.move_cursor_to(self.position)

    @property
    def has_plot(self) -> bool:
        """Whether a plot is open."""
        return self._plot_pane is not None and self._plot_pane.display

    def close_plot(self) -> bool:
        """Close the plot; return whether there was one."""
        if self._plot_pane is None or not self.has_plot:
            return False
        self._plot_pane.display = False
        return True

    # SQL

    def action_sql(self) -> None:
        from tui.screens.dialogs.sql import SqlScreen  # noqa: PLC0415 - the editor is slow to import

        self.app.push_screen(SqlScreen(self._model, self._sql), self._go_to_row)

    def _go_to_row(self, place: RowTarget | None) -> None:
        if place is not None:
            self.go(place.offset)
            if place.key is not None and self._model.history is not None:
                self.looking.select_document(place.key)
