"""Result tables below the panes: run a query, show its rows as they come, go to a row.

Esc stops a running query; the rows found by then stay.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from replay.compare.code_edit import CodeEditComparison
from tui.results import log_queries, projection_queries
from tui.results.table import ResultRow, ResultTable
from tui.screens.main.navigation import NavigationController
from tui.screens.main.ports import Focusable, Notifier, PathCursor, PromptInput, Prompts
from tui.screens.main.search import SearchController
from tui.state.query_runner import Query, QueryRunner
from tui.state.shown_data import ShownData
from tui.state.view_state import LowerPane, ViewChange, ViewState

TableQuery = Callable[[ShownData], Iterator[ResultTable]]
"""Yields a table, and the same table again with more rows if it takes long."""
QUERY_GROUP = "table"
"""The group of the queries that Esc stops."""


class ResultsView(Focusable, Protocol):
    """The pane with the rows."""

    findings: ResultTable | None
    cursor: int

    def show_table(self, findings: ResultTable) -> None: ...

    def stop_growing(self) -> None: ...

    def move_cursor_to(self, position: int) -> None: ...

    def move_cursor(self, line: int) -> None: ...

    def row(self, line: int) -> ResultRow | None: ...


class ResultsController:
    """Runs the queries whose results are tables, and follows the selected row."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        navigation: NavigationController,
        search: SearchController,
        pane: ResultsView,
        document: PathCursor,
        events: Focusable,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._navigation = navigation
        self._search = search
        self._pane = pane
        self._document = document
        self._events = events
        self._edit: CodeEditComparison | None = None
        prompts.answer_with("when", self.find_condition)
        prompts.answer_with("log", self.evaluate_logpoint)
        state.observe(self.close, ViewChange.TIMELINE)

    @property
    def is_open(self) -> bool:
        """Whether a table is shown."""
        return self._state.view.lower_pane is LowerPane.RESULTS

    @property
    def watchable(self) -> tuple[str, str] | None:
        """Scope and condition of the shown table; None if it has none."""
        findings = self._pane.findings
        return findings.watch if self.is_open and findings is not None else None

    @property
    def bookmark(self) -> int | None:
        """The number of the bookmark under the cursor; None without one."""
        row = self._pane.row(self._pane.cursor) if self.is_open and self._pane.cursor >= 0 else None
        return None if row is None else row.bookmark

    def run_query(self, ask: TableQuery, typed: PromptInput | None = None) -> None:
        """Run a query whose result is a table; `typed` is the prompt input to correct on an error."""
        data = self._state.data

        def run(query: Query) -> None:
            for number, table in enumerate(ask(data)):
                if query.is_cancelled:
                    return
                query.report(self._show_table, table, number == 0)

        on_error = partial(self._prompts.correct, typed=typed)
        self._runner.run(run, group=QUERY_GROUP, on_error=on_error)

    def stop_query(self) -> bool:
        """Stop the running query; return whether there was one."""
        if not self._runner.cancel(QUERY_GROUP):
            return False
        findings = self._pane.findings
        if findings is not None and findings.is_growing:
            self._pane.stop_growing()
        return True

    def _show_table(self, table: ResultTable, is_first: bool) -> None:
        self._pane.show_table(table)
        self._state.show_lower_pane(LowerPane.RESULTS)
        self._notifier.clear_error()
        self._search.set_matches(table.matches())
        if is_first:
            self._pane.focus()
        self._pane.move_cursor_to(self._state.position)

    def show_code_edit(self, edit: CodeEditComparison | None) -> None:
        """Show the documents that a code edit changed, as far as it is folded; None closes the table."""
        findings = self._pane.findings
        if edit is not None and edit is not self._edit and edit.differing_documents:
            table = projection_queries.documents_changed_by_edit(self._state.data, edit)
            self._show_table(table, False)
        elif edit is None and findings is not None and findings.title == projection_queries.EDIT:
            self.close()
        self._edit = edit

    def close(self) -> bool:
        """Close the table; return whether there was one."""
        if not self.is_open:
            return False
        if self._pane.has_focus:
            self._events.focus()
        self._state.show_lower_pane(LowerPane.NONE)
        self._search.set_matches(None)
        return True

    def go_to_line(self, line: int) -> None:
        """Move to the position and the document of a row."""
        row = self._pane.row(line)
        if row is None:  # its page is on the way
            if self._pane.findings is not None:
                self._navigation.go(self._pane.findings.offsets[line], jump=False)
            return
        if row.key is not None and (row.keeps_document or row.key != self._state.key):
            self._state.select_document(row.key, pin=row.keeps_document)
        if row.path is not None:
            self._document.point_at(row.path)
        self._navigation.go(row.offset, jump=False)

    def pick_row(self) -> None:
        """Go to the row under the cursor."""
        self._pane.move_cursor(max(self._pane.cursor, 0))

    def find_condition(self, text: str) -> None:
        """List where a condition became true."""
        self.run_query(
            lambda data: projection_queries.condition_transitions(data, text),
            PromptInput("when", text),
        )

    def open_logpoint_prompt(self) -> None:
        """Ask for a logpoint at events of this type."""
        snapshot = self._state.snapshot
        kind = snapshot.event.type if snapshot and snapshot.event else None
        self._prompts.open("log", f"{kind}: " if kind else "")

    def evaluate_logpoint(self, text: str) -> None:
        """List the values of a logpoint."""
        self.run_query(
            lambda data: projection_queries.logpoint_rows(data, text), PromptInput("log", text)
        )

    def list_value_changes(self) -> None:
        """List all changes of the value under the cursor of the document."""
        key, path = self._state.key, self._document.path
        self.run_query(lambda data: projection_queries.value_changes(data, key, path))

    def list_causes(self) -> None:
        """List the events that caused this event, and that it caused."""
        position = self._state.position
        self.run_query(lambda data: log_queries.causation_tree(data, position))
