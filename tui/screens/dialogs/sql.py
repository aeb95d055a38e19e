"""The SQL screen: a query over the workspace, its errors and its rows.

Enter on a row with an `offset` column goes to that event. The query runs in a thread and can be
cancelled. Query and rows are kept until the screen is opened again.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from replay.document.diff import encode_value
from replay.history.catalogue import FoldRecord
from storage.log.positions import START
from storage.query.sql_query import QueryCancellation, QueryResult, fetch_result
from storage.quoting import quote_literal
from storage.workspace.macros import MACROS
from storage.workspace.workspace import MAIN_TIMELINE
from tui.screens.dialogs.row import RowScreen, row_as_dict
from tui.state.history_view import list_folds
from tui.state.query_runner import ThreadQueryRunner
from tui.state.shown_data import ShownData
from tui.state.sql_session import RowTarget, SqlSession
from tui.text.sanitize import sanitize_line
from tui.widgets.bars import Header
from tui.widgets.query_editor import CompletionList, QueryEditor
from tui.widgets.result_list import ResultList

_TICK_SECONDS = 0.25
_QUIET_SECONDS = 1.0
"""Seconds after which a running query shows its elapsed time."""
_HINT = f"macros: {', '.join(m.name for m in MACROS)} · SHOW TABLES lists the tables"


class SqlScreen(Screen[RowTarget | None]):
    """The SQL screen; returns the position of the chosen row, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "switch pane", key_display="tab"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, data: ShownData, asking: SqlSession) -> None:
        super().__init__()
        self._data = data
        self._asking = asking
        self._runner = ThreadQueryRunner(self, self._show_message)
        self._stop: QueryCancellation | None = None
        self._began = 0.0

    def compose(self) -> ComposeResult:
        offers = CompletionList(id="offers", compact=True)
        yield Header(id="header")
        yield QueryEditor(self._asking.text, offers, hint=self._example_query(), id="query")
        yield Static(id="said")
        yield ResultList(id="rows")
        yield offers
        yield Footer(show_command_palette=False, compact=True)

    def _example_query(self) -> str:
        """Return an example query that works on this workspace."""
        history = self._data.history
        if history is None:
            return "SELECT type, count(*) FROM events GROUP BY ALL"
        timeline = self._data.workspace.timeline
        on = "" if timeline == MAIN_TIMELINE else f", timeline := {quote_literal(timeline)}"
        return f"FROM latest({quote_literal(history.fold_record.label)}{on})"

    def on_mount(self) -> None:
        self.query_one(CompletionList).display = False
        editor = self.query_one(QueryEditor)
        editor.border_title = "SQL"
        editor.move_cursor(editor.document.end)
        editor.focus()
        self._load_projections()
        self.set_interval(_TICK_SECONDS, self._tick)
        kept = self._asking.answer
        if kept is not None:
            rows = self.query_one(ResultList)
            rows.show_answer(kept)
            self.call_after_refresh(rows.move_cursor, self._asking.line)
            self._show_message(_answer_summary(kept))
            rows.focus()
        else:
            self._show_message(_HINT)

    def on_resize(self) -> None:
        place = [self._data.workspace.path.stem, self._data.workspace.timeline, "SQL"]
        self.query_one(Header).show_path(place, "read-only")

    def on_unmount(self) -> None:
        self._stop_query()

    def _load_projections(self) -> None:
        def show(folds: Sequence[FoldRecord]) -> None:
            names = dict.fromkeys([f.name for f in folds] + [f.label for f in folds])
            self.query_one(QueryEditor).projections = tuple(names)

        # After an error, completion offers no projections.
        self._runner.run(lambda _: list_folds(self._data.workspace), show, on_error=lambda _: None)

    # SqlSession

    def on_query_editor_query_entered(self, event: QueryEditor.QueryEntered) -> None:
        if not event.text:
            return
        self._stop_query()
        self._asking.add_query(event.text)
        self._stop, self._began = QueryCancellation(), time.monotonic()
        self._show_message("")
        workspace, text, stop = self._data.workspace, event.text, self._stop
        self._runner.run(
            lambda _: fetch_result(workspace, text, stop),
            partial(self._show_answer, stop),
            on_error=partial(self._show_failure, stop),
        )

    def _show_failure(self, stop: QueryCancellation, message: str) -> None:
        if stop is self._stop:
            self._stop = None
            self._show_message(message, "$text-error")

    def _show_answer(self, stop: QueryCancellation, found: QueryResult) -> None:
        if stop is not self._stop:
            return  # another was asked meanwhile, or it was cancelled
        self._stop = None
        self._asking.answer = found
        rows = self.query_one(ResultList)
        rows.show_answer(found)
        self._show_message(_answer_summary(found))
        if found.row_count:
            rows.focus()

    def _tick(self) -> None:
        taken = time.monotonic() - self._began
        if self._stop is not None and taken >= _QUIET_SECONDS:
            self._show_message(f"running for {taken:.0f} s · esc cancel", "$text-warning")

    def _stop_query(self) -> None:
        """Cancel the running query, if there is one."""
        if self._stop is not None:
            self._stop.cancel()
            self._stop = None

    def _show_message(self, text: str, style: str = "$text-muted") -> None:
        self.query_one("#said", Static).update(Content.assemble((sanitize_line(text), style)))

    def on_query_editor_query_recalled(self, event: QueryEditor.QueryRecalled) -> None:
        editor = self.query_one(QueryEditor)
        earlier = self._asking.recall_query(editor.text, event.by)
        if earlier is not None:
            editor.replace_query(earlier)

    # Rows

    def on_result_list_chosen(self, event: ResultList.Chosen) -> None:
        found = self._asking.answer
        if found is None:
            return
        row = row_as_dict(found.columns, found.read_row(event.number))
        if event.what == "open":
            self.app.push_screen(RowScreen(row, f"row {event.number + 1:,} of {found.row_count:,}"))
        elif event.what == "copy":
            self.app.copy_to_clipboard(encode_value(row))
            self.notify("Copied the row as JSON.", timeout=2)
        else:
            self._seek(row.get("offset", row), row.get("key"))

    def _seek(self, offset: object, key: object) -> None:
        last = self._data.extent.event_count - 1
        if not isinstance(offset, int):
            self._show_message(
                'This row has no "offset" column to go to. Press space to see the whole row.'
            )
        elif not START <= offset <= last:
            self._show_message(f"There is no event at {offset:,}. The last event is at {last:,}.")
        else:
            self._leave(RowTarget(offset, key if isinstance(key, str) else None))

    def action_back(self) -> None:
        """Cancel the running query; without one, leave the screen."""
        if self._stop is not None:
            self._stop_query()
            self._show_message("Query cancelled.")
        else:
            self._leave(None)

    def _leave(self, place: RowTarget | None) -> None:
        self._asking.text = self.query_one(QueryEditor).text
        self._asking.line = self.query_one(ResultList).cursor
        self.dismiss(place)


def _answer_summary(found: QueryResult) -> str:
    rows = "1 row" if found.row_count == 1 else f"{found.row_count:,} rows"
    if found.is_truncated:
        rows = f"first {rows} shown; narrow the query to see the rest"
    return f"{rows} · {found.seconds:.2f} s"
