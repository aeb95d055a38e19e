"""Bookmarks and watches in the workspace."""

from collections.abc import Callable
from functools import partial

from replay.document import paths
from storage.marks import bookmarks, watches
from storage.workspace.workspace import Workspace
from tui.screens.main.ports import Notifier, PathCursor, Prompts
from tui.screens.main.results import ResultsController
from tui.screens.main.search import SearchController
from tui.state.query_runner import QueryRunner
from tui.state.view_state import ViewState


class BookmarkController:
    """Saves and removes bookmarks and watches, in threads."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        search: SearchController,
        results: ResultsController,
        document: PathCursor,
        on_saved: Callable[[], object],
    ) -> None:
        """`on_saved` is called when bookmarks or watches have changed."""
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._search = search
        self._results = results
        self._document = document
        self._on_saved = on_saved
        prompts.answer_with("note", self.add_bookmark, takes_empty=True)

    def add_watch(self) -> None:
        """Watch the condition of the result table or of the filter, as a lane."""
        watchable = self._results.watchable
        if watchable is None and self._search.filter_text:
            watchable = "events", self._search.filter_text
        if watchable is None:
            self._notifier.show_error("No condition to watch. Enter one with F or f, then press +.")
            return
        scope, condition = watchable
        add = partial(watches.add_watch, self._state.data.workspace, scope, condition)
        self._write(add, f"Watching {condition}. Press - to remove the watch.")

    def add_bookmark(self, note: str) -> None:
        """Bookmark the position, the document and the value under the cursor."""
        data = self._state.data
        add = partial(
            bookmarks.add_bookmark,
            data.workspace,
            offset=self._state.position,
            note=note,
            projection=data.history.fold_record.name if data.history else None,
            key=self._state.key,
            path=paths.format_path(self._document.path),
        )
        self._write(add, "Bookmark saved. Press ' to list the bookmarks.")

    def remove(self) -> None:
        """Remove the bookmark under the cursor; without one, the newest watch."""
        workspace, bookmark = self._state.data.workspace, self._results.bookmark
        if bookmark is None:
            self._runner.run(lambda _: _remove_newest_watch(workspace), self._on_watch_removed)
        else:
            self._write(
                lambda: bookmarks.remove_bookmark(workspace, bookmark),
                "Bookmark removed.",
                self._results.close,
            )

    def _on_watch_removed(self, condition: str | None) -> None:
        if condition is None:
            self._notifier.show_error("No watches yet: F or f, then +.")
        else:
            self._announce(f"Watch removed: {condition}")

    def _write(
        self, write: Callable[[], object], message: str, then: Callable[[], object] | None = None
    ) -> None:
        """Change the marks in a thread, then show a message and draw them."""

        def done(_: object) -> None:
            self._announce(message)
            if then is not None:
                then()

        self._runner.run(lambda _: write(), done, failure="The marks can't be saved")

    def _announce(self, message: str) -> None:
        self._notifier.show_message(message)
        self._on_saved()


def _remove_newest_watch(workspace: Workspace) -> str | None:
    """Remove the newest watch; return its condition, None if there are no watches."""
    kept = watches.list_watches(workspace)
    if not kept:
        return None
    watches.remove_watch(workspace, kept[-1].number)
    return kept[-1].condition
