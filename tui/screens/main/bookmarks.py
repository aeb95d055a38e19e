"""Bookmarks and watches in the workspace, and copies for the clipboard."""

from collections.abc import Callable
from functools import partial

from textual import work

from replay.document import paths
from storage.errors import RefoldError
from storage.marks import bookmarks, watches
from tui.results import log_queries
from tui.screens.main.search import SearchScreen
from tui.state.view_address import Address
from tui.widgets.bars import Prompt
from tui.widgets.document_pane import DocumentPane
from tui.widgets.event_pane import EventPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.results_pane import ResultsPane


class BookmarksScreen(SearchScreen):
    """The part of the main screen that keeps bookmarks and watches."""

    def draw_lanes(self) -> None:
        """Query the lanes of the strip again and draw them."""
        raise NotImplementedError

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        # Textual calls the handlers of all base classes.
        if event.purpose == "note":
            self._save_bookmark(event.text)

    def action_watch(self) -> None:
        """Watch the condition of the result table or of the filter, as a lane."""
        pane = self.query_one(ResultsPane)
        if pane.display and pane.findings is not None and pane.findings.watch is not None:
            self._save_watch(*pane.findings.watch)
        elif self._filtered is not None:
            self._save_watch("events", self._filtered.text)
        else:
            self.show_error("No condition to watch. Enter one with F or f, then press +.")

    def action_forget(self) -> None:
        """Remove the bookmark under the cursor; without one, the newest watch."""
        pane = self.query_one(ResultsPane)
        row = pane.row(pane.cursor) if pane.display and pane.cursor >= 0 else None
        self._delete_mark(row.bookmark if row is not None else None)

    def action_bookmark(self) -> None:
        self.prompt("note")

    def action_bookmarks(self) -> None:
        self.run_query(partial(log_queries.list_bookmarks, self._model))

    def _save_watch(self, over: str, condition: str) -> None:
        add = partial(watches.add_watch, self._model.workspace, over, condition)
        self._write_marks(add, f"Watching {condition}. Press - to remove the watch.")

    @work(thread=True, group="keep", exit_on_error=False)
    def _delete_mark(self, bookmark: int | None) -> None:
        workspace = self._model.workspace
        if bookmark is not None:
            self._on_marks_written(
                lambda: bookmarks.remove_bookmark(workspace, bookmark), "Bookmark removed."
            )
            self.app.call_from_thread(self.close_results)
            return
        kept = watches.list_watches(workspace)
        if not kept:
            self.app.call_from_thread(self.show_error, "No watches yet: F or f, then +.")
            return
        last = kept[-1]
        said = f"Watch removed: {last.condition}"
        self._on_marks_written(lambda: watches.remove_watch(workspace, last.number), said)

    def _save_bookmark(self, note: str) -> None:
        history = self._model.history
        add = partial(
            bookmarks.add_bookmark,
            self._model.workspace,
            offset=self.position,
            note=note,
            projection=history.fold_record.name if history else None,
            key=self.looking.key,
            path=paths.format_path(self.query_one(DocumentPane).path),
        )
        self._write_marks(add, "Bookmark saved. Press ' to list the bookmarks.")

    @work(thread=True, group="keep", exit_on_error=False)
    def _write_marks(self, write: Callable[[], object], said: str) -> None:
        self._on_marks_written(write, said)

    def _on_marks_written(self, write: Callable[[], object], said: str) -> None:
        try:
            write()
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)
            return
        self.app.call_from_thread(self.show_message, said)
        self.app.call_from_thread(self.draw_lanes)

    def action_copy(self) -> None:
        focused = self.focused
        pane = focused if isinstance(focused, EventPane) else self.query_one(DocumentPane)
        if isinstance(focused, EventsPane):
            pane = self.query_one(EventPane)
        text = pane.text
        if text:
            self.app.copy_to_clipboard(text)
            self.show_message(f"Copied {len(text):,} characters of JSON.")

    def action_copy_address(self) -> None:
        """Copy the address of this view, for `refold open`."""
        history = self._model.history
        path = self.query_one(DocumentPane).path
        address = Address(
            self._model.workspace.path.resolve(),
            self._model.workspace.timeline,
            str(self._model.workspace.label_at(self.position)),
            history.fold_record.label if history else None,
            self.looking.key,
            paths.format_path(path) if path else None,
        )
        self.app.copy_to_clipboard(str(address))
        self.show_message(f"Copied: refold open '{address}'")
