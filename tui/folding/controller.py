"""The projections of a screen: which one is shown, and the fold that runs for it.

Only projections named on the command line are run. Saving a projection's file folds it again; the
screen shows the old history until the new fold ends, and then compares the two. All of its state
belongs to the screen's thread: other threads only hand messages and immutable values to it.
"""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from textual.app import App

from replay.compare.code_edit import CodeEditComparison
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import Reference
from storage.timelines.forked_workspace import as_fork
from storage.workspace.workspace import MAIN_TIMELINE
from tui.folding.file_watcher import FileWatcher
from tui.folding.fold_process import FoldMessage, FoldProcess
from tui.folding.fold_query import (
    FoldProgress,
    FoundHistory,
    ProgressRequest,
    find_history,
    query_progress,
)
from tui.folding.fold_status import describe_history, describe_running_fold
from tui.folding.running_fold import RunningFold
from tui.folding.warm_process import WarmProcess
from tui.state.fold_span import FoldSpan
from tui.state.history_view import list_folds, query_history
from tui.state.query_runner import ThreadQueryRunner
from tui.state.view_state import ViewChange, ViewState
from tui.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from replay.forks.warm_worker import WarmWorker
    from tui.folding.fork_fold import ForkFoldThread

_REFRESH_SECONDS = 0.7
_WARM_PROCESS_DELAY_SECONDS = 3.0
"""Seconds after a fold until a process is started that waits for the next save."""
_COMPARISON_PAUSE = 4
"""During a fold, the pause between comparisons is this many times the last one's duration."""
_QUERY_GROUP = "fold"


class FoldController:
    """Folds the shown projection in the background, one fold at a time."""

    def __init__(
        self,
        app: App[None],
        state: ViewState,
        wanted: Sequence[Reference],
        label: str | None = None,
    ) -> None:
        """Show the wanted projections; without any, the histories of the workspace, `label` first."""
        self._app = app
        self._state = state
        self._wanted = list(wanted)
        self._known: list[FoldRecord] = [] if wanted else list_folds(state.data.workspace)
        labels = [folded.label for folded in self._known]
        self._index = labels.index(label) if label in labels else 0
        self._span = FoldSpan(state.data.extent.event_count)
        self._asked_at: int | None = None
        """The position around which the last partial fold was started."""
        self._running: RunningFold | None = None
        self._warm_worker: WarmWorker | None = None
        """A worker that stays ready to fold forks."""
        self._error: str | None = None
        self._shown = 0.0
        self._watch = FileWatcher(self._on_code_saved)
        self.standby = WarmProcess()
        self.edit: CodeEditComparison | None = None
        """The documents that the last code edit changed."""
        self._number = 0
        """The number of the last fold or query; messages of earlier ones are ignored."""
        self._runner = ThreadQueryRunner(app, self._show_error)
        self._on_screen: Callable[..., object] = lambda *_: None
        self._changed: Callable[[], None] = lambda: None
        state.observe(self._show_timeline, ViewChange.TIMELINE)

    @property
    def current(self) -> Reference | None:
        """The shown projection; None if its code may not run."""
        return self._wanted[self._index] if self._wanted else None

    @property
    def count(self) -> int:
        return len(self._wanted or self._known)

    @property
    def running(self) -> bool:
        return self._running is not None

    @property
    def trouble(self) -> bool:
        return self._error is not None

    def begin(self, changed: Callable[[], None]) -> None:
        """Show the first projection; `changed` is called whenever the screen must be redrawn."""
        self._changed = changed
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def on_screen(take: Callable[..., None], *values: object) -> None:
            # Textual reads the active app from the context. The thread of a fold must not wait for
            # the screen, because the screen may be closing and wait for the fold.
            with contextlib.suppress(RuntimeError):  # the screen is closed
                loop.call_soon_threadsafe(
                    partial(self._app.call_later, take, *values), context=context
                )

        self._on_screen = on_screen
        self._choose()

    def _show_timeline(self) -> None:
        """Show the same projection on another timeline."""
        data = self._state.data
        self._stop()
        self.standby.close()  # it would fold the previous timeline
        self._watch.watch_files({})
        self.edit = None
        self._known = [] if self._wanted else list_folds(data.workspace)
        self._index = min(self._index, max(self.count - 1, 0))
        self._span = FoldSpan(data.extent.event_count)
        self._choose()

    def fold_new_events(self) -> None:
        """Fold newly loaded events, now or when the running fold has ended."""
        self._span = replace(self._span, events=self._state.data.extent.event_count)
        if self._running is None and self._error is None:
            self._choose()

    def show_next_projection(self) -> None:
        """Show the next projection."""
        self._stop()
        self._watch.watch_files({})
        self.edit = None
        self._index = (self._index + 1) % max(self.count, 1)
        self._choose()

    def refold(self) -> None:
        """Fold the current projection from the start."""
        self._stop()
        self.edit = None
        self._start(force=True)

    def cancel(self) -> None:
        """Cancel the running fold; a fold of the log keeps what it has folded."""
        if self._running is not None:
            self._asked_at = self._state.position
            self._running.fold.cancel()

    def close(self) -> None:
        """Stop all folds and processes, and wait for them."""
        self._watch.close()
        self.standby.close()
        self._stop()
        if self._warm_worker is not None:
            self._warm_worker.close()

    def clear_code_edit(self) -> bool:
        """Stop comparing with the history before the last code edit; return whether it differed."""
        if self.edit is None or not self.edit.differing_documents:
            return False
        self.edit = None
        self._changed()
        return True

    def _stop(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.fold.close()

    def status_text(self) -> str:
        """Return the state of the fold in a few words, for the header."""
        if self._error is not None:
            return self._error
        running = self._running
        if running is not None:
            return describe_running_fold(running.message, is_edited=running.old is not None)
        return describe_history(self._state.data)

    def _choose(self) -> None:
        """Find the history of the chosen projection, in a thread."""
        self._error = None
        self._number += 1
        data, wanted = self._state.data, self.current
        workspace, events = data.workspace, data.extent.event_count
        known = self._known[self._index] if self._known else None

        def find(_: object) -> FoundHistory:
            if wanted is not None:
                return find_history(workspace, wanted, events)
            view = None if known is None else query_history(workspace, known)
            return FoundHistory(FoldSpan(events), view)

        self._runner.run(
            find,
            partial(self._take_history, self._number),
            group="history",
            failure="The history can't be read",
            on_error=partial(self._on_history_failed, self._number),
        )

    def _on_history_failed(self, number: int, message: str) -> None:
        if number == self._number:
            self._state.show_history(None)
            self._error = message
            self._watch_files()
            self._changed()

    def _take_history(self, number: int, found: FoundHistory) -> None:
        if number != self._number:
            return
        self._span = replace(found.span, events=self._state.data.extent.event_count)
        self._state.show_history(found.view)
        is_complete = found.view is not None and self._span.is_complete(
            found.view.fold_record, self._state.position
        )
        if self.current is None or is_complete:
            self._watch_files()
            self._changed()
        else:
            self._start(force=False)

    def fold_around_position(self) -> None:
        """Fold the events around the position, if the projection is folded only in parts."""
        history, position = self._state.data.history, self._state.position
        if self._running is not None or self._error is not None or history is None:
            return
        if self._span.span_around(position) is None:
            return  # this projection is folded as a whole, or the person cancelled it
        # Don't restart a fold that the person cancelled at this position.
        is_complete = self._span.is_complete(history.fold_record, position)
        if position != self._asked_at and not is_complete:
            self._asked_at = position
            self._start(force=False)

    def _start(self, *, force: bool, old: History | None = None) -> None:
        wanted = self.current
        if wanted is None:
            return
        self._error = None
        self._number += 1
        number = self._number

        def tell(message: FoldMessage) -> None:
            """Hand a message of the fold's thread to the screen's thread."""
            self._on_screen(self._on_fold_message, number, message)

        self._state.data.workspace.release()  # the fold needs the write lock
        self._running = RunningFold(self._start_fold(wanted, tell, force=force), wanted, old)
        self._changed()

    def _start_fold(
        self, wanted: Reference, tell: Callable[[FoldMessage], None], *, force: bool
    ) -> "FoldProcess | ForkFoldThread":
        workspace = self._state.data.workspace
        fork = as_fork(workspace)
        if fork is not None and not is_over_all_events(wanted.text):
            from replay.forks.warm_worker import WarmWorker  # noqa: PLC0415 - imports Arrow
            from tui.folding.fork_fold import ForkFoldThread  # noqa: PLC0415 - imports Arrow, as WarmWorker does

            self._warm_worker = self._warm_worker or WarmWorker()
            return ForkFoldThread(fork, wanted, tell, self._warm_worker)
        is_main = workspace.timeline == MAIN_TIMELINE
        if is_main and not force and (ready := self.standby.take(wanted)):
            ready.start(tell)
            return ready
        span = self._span.span_around(self._state.position)
        return FoldProcess(workspace, wanted, tell, force=force, span=span)

    def _on_fold_message(self, number: int, message: FoldMessage) -> None:
        """Show what a fold has written, if enough time has passed since the last time."""
        running = self._running
        if running is None or number != self._number:
            return
        now = time.monotonic()
        has_more = message.changes > running.compared.changes and now > running.compare_after
        must_compare = running.old is not None and (has_more or message.has_ended)
        is_due = now - self._shown > _REFRESH_SECONDS or must_compare
        if not message.has_ended and (running.is_querying or not is_due):
            return
        self._shown = now
        running.is_querying = True
        wanted = ProgressRequest(
            self._state.data.workspace,
            running.wanted,
            self._span,
            self._state.position,
            running.old,
            message.has_ended,
            must_compare,
        )
        self._runner.run(
            lambda _: query_progress(wanted),
            partial(self._take_progress, number, message),
            group=_QUERY_GROUP,
            failure="The histories can't be read",
            on_error=partial(self._on_progress_failed, number, message),
        )

    def _on_progress_failed(self, number: int, message: FoldMessage, error: str) -> None:
        self._take_progress(number, replace(message, error=message.error or error), FoldProgress())

    def _take_progress(self, number: int, message: FoldMessage, progress: FoldProgress) -> None:
        running = self._running
        if running is None or number != self._number:
            return
        running.is_querying = False
        running.message = message
        if progress.edit is not None:
            running.compared = message
            pause = _COMPARISON_PAUSE * progress.comparison_seconds
            running.compare_after = time.monotonic() + pause
        if progress.view is not None:
            self._state.show_history(progress.view)
        if progress.edit is not None or (message.has_ended and message.error is None):
            self.edit = progress.edit
        if message.has_ended:
            self._end(running, message, progress)
        self._changed()

    def _end(self, running: RunningFold, message: FoldMessage, progress: FoldProgress) -> None:
        """Take over the end of a fold."""
        self._running = None
        self._error = message.error
        # The old history stays until the edited code is folded to the end.
        is_unfinished = running.old is not None and progress.view is None
        if message.error is not None:
            self._show_error(message.error)
        elif is_unfinished:
            self._app.notify(
                "The edited code isn't fully folded. You see the old states. Press r to fold."
            )
        elif progress.edit is not None and not progress.edit.differing_documents:
            self._app.notify("The code edit changes no state.", timeout=4)
        if not is_unfinished or message.error is not None:  # else the fold would restart at once
            self._watch_files()
        # Fold again if the log grew during the fold; a cancelled fold does not reach its own end.
        events = self._state.data.extent.event_count
        if message.error is None and 0 < message.events == message.folded < events:
            self._choose()

    def _show_error(self, message: str) -> None:
        """Show an error that the header may be too narrow for."""
        self._app.notify(sanitize_line(message), severity="error", markup=False, timeout=10)

    def _watch_files(self) -> None:
        """Watch the files of the shown projection, and start a process that waits to fold them."""
        wanted, history = self.current, self._state.data.history
        if wanted is None:
            return
        if self._error is None and history is not None:
            self._watch.watch_files(history.fold_record.files)
        elif not self._watch.is_watching:
            # The files are unknown because the fold failed; watch the one that was named.
            place = wanted.text if wanted.is_sql else wanted.text.rpartition(".py")[0]
            files = {place if wanted.is_sql else f"{place}.py": ""} if place else {}
            self._watch.watch_files(
                {**dict.fromkeys(history.fold_record.files if history else (), ""), **files}
            )
        self._app.set_timer(_WARM_PROCESS_DELAY_SECONDS, self._stand_by)

    def _stand_by(self) -> None:  # only a fold of the whole log can be prepared
        wanted, workspace = self.current, self._state.data.workspace
        is_whole = not self._span.is_over_all_events and workspace.timeline == MAIN_TIMELINE
        if wanted is not None and is_whole and self._running is None:
            self.standby.start(workspace, wanted)

    def _on_code_saved(self) -> None:
        """Called in the file watcher's thread."""
        self._on_screen(self._fold_saved_code)

    def _fold_saved_code(self) -> None:
        """Fold the saved code, replacing a running fold."""
        running = self._running
        if running is None:
            self._start(force=False, old=self._state.data.history)
            return
        old = running.old or self._state.data.history
        self._number += 1
        number = self._number

        def start(_: None) -> None:
            if number == self._number:
                self._start(force=False, old=old)

        # A fold saves what it has before it ends, so wait for it in a thread.
        self._runner.run(lambda _: running.fold.close(), start)
