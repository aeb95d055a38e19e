"""What is kept of a place: watches and bookmarks in the workspace, and what goes to the clipboard."""

from collections.abc import Callable
from functools import partial

from textual import work

from replay.document import paths
from storage.errors import RefoldError
from storage.marks import bookmarks, watches
from tui.results import log_queries
from tui.screens.main.search import FindsScreen
from tui.state.address import Address
from tui.widgets.bars import Prompt
from tui.widgets.document_pane import DocumentPane
from tui.widgets.event_pane import EventPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.results_pane import FindingsPane


class KeepsScreen(FindsScreen):
    """The part of the travel screen that keeps what was found."""

    def draw_lanes(self) -> None:
        """Ask for the lanes of the strip anew."""
        raise NotImplementedError

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        # Beside the one of what is looked for: Textual calls both.
        if event.purpose == "note":
            self._bookmark(event.text)

    def action_watch(self) -> None:
        """Keep the condition of the table, or of the filter, as a lane."""
        pane = self.query_one(FindingsPane)
        if pane.display and pane.findings is not None and pane.findings.watch is not None:
            self._keep(*pane.findings.watch)
        elif self._filtered is not None:
            self._keep("events", self._filtered.text)
        else:
            self.complain("Ask for a condition with F, or filter with f; then + keeps it in sight.")

    def action_forget(self) -> None:
        """Forget the bookmark under the cursor, or the newest watch."""
        pane = self.query_one(FindingsPane)
        row = pane.row(pane.cursor) if pane.display and pane.cursor >= 0 else None
        self._forget(row.kept if row is not None else None)

    def action_bookmark(self) -> None:
        self.prompt("note")

    def action_bookmarks(self) -> None:
        self.ask(partial(log_queries.bookmarked, self._model))

    def _keep(self, over: str, condition: str) -> None:
        add = partial(watches.add, self._model.workspace, over, condition)
        self._write(add, f"{condition} is watched; - forgets it.")

    @work(thread=True, group="keep", exit_on_error=False)
    def _forget(self, bookmark: int | None) -> None:
        workspace = self._model.workspace
        if bookmark is not None:
            self._kept(lambda: bookmarks.remove(workspace, bookmark), "The bookmark is gone.")
            self.app.call_from_thread(self.close_findings)
            return
        kept = watches.kept(workspace)
        if not kept:
            self.app.call_from_thread(self.complain, "Nothing is watched.")
            return
        last = kept[-1]
        said = f"{last.condition} is watched no longer."
        self._kept(lambda: watches.remove(workspace, last.number), said)

    def _bookmark(self, note: str) -> None:
        history = self._model.history
        add = partial(
            bookmarks.add,
            self._model.workspace,
            offset=self.position,
            note=note,
            projection=history.folded.name if history else None,
            key=self.looking.key,
            path=paths.write(self.query_one(DocumentPane).path),
        )
        self._write(add, "Marked; ' lists the bookmarks.")

    @work(thread=True, group="keep", exit_on_error=False)
    def _write(self, write: Callable[[], object], said: str) -> None:
        self._kept(write, said)

    def _kept(self, write: Callable[[], object], said: str) -> None:
        try:
            write()
        except RefoldError as error:
            self.app.call_from_thread(self.complain, error.message)
            return
        self.app.call_from_thread(self.say, said)
        self.app.call_from_thread(self.draw_lanes)

    def action_copy(self) -> None:
        focused = self.focused
        pane = focused if isinstance(focused, EventPane) else self.query_one(DocumentPane)
        if isinstance(focused, EventsPane):
            pane = self.query_one(EventPane)
        text = pane.text
        if text:
            self.app.copy_to_clipboard(text)
            self.say(f"Copied {len(text):,} characters of JSON.")

    def action_copy_address(self) -> None:
        """The place as an address that `refold open` takes."""
        history = self._model.history
        path = self.query_one(DocumentPane).path
        address = Address(
            self._model.workspace.path.resolve(),
            self._model.workspace.timeline,
            str(self._model.workspace.label(self.position)),
            history.folded.label if history else None,
            self.looking.key,
            paths.write(path) if path else None,
        )
        self.app.copy_to_clipboard(str(address))
        self.say(f"Copied: refold open '{address}'")
