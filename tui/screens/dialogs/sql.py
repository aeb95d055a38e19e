"""SQL over the workspace: a query, what is wrong with it, and the rows that it answers with.

A row with an offset leads there. The query runs in a thread and can be cancelled; what was asked
and answered is still there when a person comes back.
"""

import time
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import get_current_worker

from replay.document.diff import encode
from storage.errors import RefoldError, one_line
from storage.log.positions import START
from storage.query.sql_query import Answer, Stop, answer
from storage.quoting import quoted
from storage.workspace.macros import MACROS
from storage.workspace.workspace import MAIN
from tui.screens.dialogs.row import RowScreen, whole
from tui.state.session import Model
from tui.state.sql_session import RowPlace, SqlSession
from tui.text.sanitize import printable
from tui.widgets.bars import Header
from tui.widgets.query_editor import Offers, QueryEditor
from tui.widgets.result_list import ResultList

_TICK_SECONDS = 0.25
_QUIET_SECONDS = 1.0
"""A query that takes longer says so."""
_HINT = f"macros: {', '.join(m.name for m in MACROS)} · SHOW TABLES lists the tables"


class SqlScreen(Screen[RowPlace | None]):
    """Gives back the place of the row that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "query, rows", key_display="tab"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, model: Model, asking: SqlSession) -> None:
        super().__init__()
        self._model = model
        self._asking = asking
        self._stop: Stop | None = None
        self._began = 0.0

    def compose(self) -> ComposeResult:
        offers = Offers(id="offers", compact=True)
        yield Header(id="header")
        yield QueryEditor(self._asking.text, offers, hint=self._example(), id="query")
        yield Static(id="said")
        yield ResultList(id="rows")
        yield offers
        yield Footer(show_command_palette=False, compact=True)

    def _example(self) -> str:
        """A query that can be asked here as it is."""
        history = self._model.history
        if history is None:
            return "SELECT type, count(*) FROM events GROUP BY ALL"
        timeline = self._model.workspace.timeline
        on = "" if timeline == MAIN else f", timeline := {quoted(timeline)}"
        return f"FROM latest({quoted(history.folded.label)}{on})"

    def on_mount(self) -> None:
        self.query_one(Offers).display = False
        editor = self.query_one(QueryEditor)
        editor.border_title = "SQL"
        editor.move_cursor(editor.document.end)
        editor.focus()
        self._know_projections()
        self.set_interval(_TICK_SECONDS, self._tick)
        kept = self._asking.answer
        if kept is not None:
            rows = self.query_one(ResultList)
            rows.show(kept)
            self.call_after_refresh(rows.move_cursor, self._asking.line)
            self._say(_told(kept))
            rows.focus()
        else:
            self._say(_HINT)

    def on_resize(self) -> None:
        place = [self._model.workspace.path.stem, self._model.workspace.timeline, "SQL"]
        self.query_one(Header).say(place, "read-only: it changes nothing")

    def on_unmount(self) -> None:
        self._end()

    @work(thread=True, group="names", exit_on_error=False)
    def _know_projections(self) -> None:
        try:
            known = self._model.projections()
        except RefoldError:
            return  # then none are offered
        names = dict.fromkeys([f.name for f in known] + [f.label for f in known])
        if not get_current_worker().is_cancelled:
            self.query_one(QueryEditor).projections = tuple(names)

    # SqlSession

    def on_query_editor_entered(self, event: QueryEditor.Entered) -> None:
        if not event.text:
            return
        self._end()
        self._asking.remember(event.text)
        self._stop, self._began = Stop(), time.monotonic()
        self._say("")
        self._ask(event.text, self._stop)

    @work(thread=True, group="sql", exit_on_error=False)
    def _ask(self, text: str, stop: Stop) -> None:
        found: Answer | None = None
        trouble = ""
        try:
            found = answer(self._model.workspace, text, stop)
        except RefoldError as error:
            trouble = error.message
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            trouble = f"The query failed: {one_line(error)}"
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._answered, stop, found, trouble)

    def _answered(self, stop: Stop, found: Answer | None, trouble: str) -> None:
        if stop is not self._stop:
            return  # another was asked meanwhile, or it was cancelled
        self._stop = None
        if found is None:
            self._say(trouble, "$text-error")
            return
        self._asking.answer = found
        rows = self.query_one(ResultList)
        rows.show(found)
        self._say(_told(found))
        if found.count:
            rows.focus()

    def _tick(self) -> None:
        taken = time.monotonic() - self._began
        if self._stop is not None and taken >= _QUIET_SECONDS:
            self._say(f"running for {taken:.0f} s · esc cancels", "$text-warning")

    def _end(self) -> None:
        """Give up what is being asked."""
        if self._stop is not None:
            self._stop.stop()
            self._stop = None

    def _say(self, text: str, style: str = "$text-muted") -> None:
        self.query_one("#said", Static).update(Content.assemble((printable(text), style)))

    def on_query_editor_recalled(self, event: QueryEditor.Recalled) -> None:
        editor = self.query_one(QueryEditor)
        earlier = self._asking.recall(editor.text, event.by)
        if earlier is not None:
            editor.put(earlier)

    # What rows are for

    def on_result_list_chosen(self, event: ResultList.Chosen) -> None:
        found = self._asking.answer
        if found is None:
            return
        row = whole(found.columns, found.row(event.number))
        if event.what == "open":
            self.app.push_screen(RowScreen(row, f"row {event.number + 1:,} of {found.count:,}"))
        elif event.what == "copy":
            self.app.copy_to_clipboard(encode(row))
            self.notify("Copied the row as JSON.", timeout=2)
        else:
            self._seek(row.get("offset", row), row.get("key"))

    def _seek(self, offset: object, key: object) -> None:
        last = self._model.extent.events - 1
        if not isinstance(offset, int):
            self._say('Only a row with an "offset" leads somewhere; space shows it whole.')
        elif not START <= offset <= last:
            self._say(f"There is no event at {offset:,}; the last one is at {last:,}.")
        else:
            self._leave(RowPlace(offset, key if isinstance(key, str) else None))

    def action_back(self) -> None:
        """Esc: give up the query that runs, else the screen."""
        if self._stop is not None:
            self._end()
            self._say("The query was cancelled.")
        else:
            self._leave(None)

    def _leave(self, place: RowPlace | None) -> None:
        self._asking.text = self.query_one(QueryEditor).text
        self._asking.line = self.query_one(ResultList).cursor
        self.dismiss(place)


def _told(found: Answer) -> str:
    rows = "1 row" if found.count == 1 else f"{found.count:,} rows"
    if found.more:
        rows = f"the first {rows}; there are more, so narrow the query to see them"
    return f"{rows} · {found.seconds:.2f} s"
