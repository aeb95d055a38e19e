"""The projections of a screen: which one is shown, and the fold that runs for it.

Only projections named on the command line are run. Saving a projection's file folds it again; the
screen shows the old history until the new fold ends, and then compares the two.
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

from replay.compare import code_edit
from replay.compare.code_edit import CodeEditComparison
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import Reference
from storage.errors import RefoldError, summarize_error
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import MAIN_TIMELINE
from tui.folding.file_watcher import FileWatcher
from tui.folding.fold_process import FoldMessage, FoldProcess
from tui.folding.warm_process import WarmProcess
from tui.state.fold_span import FoldSpan
from tui.state.session import Session
from tui.state.snapshot import HistoryView
from tui.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from replay.forks.warm_worker import WarmWorker
    from tui.folding.fork_fold import ForkFoldThread

_REFRESH_SECONDS = 0.7
_WARM_PROCESS_DELAY_SECONDS = 3.0
"""Seconds after a fold until a process is started that waits for the next save."""
_COMPARISON_NOTE = 4
"""During a fold, the pause between comparisons is this many times the last one's duration."""


class FoldController:
    """Folds the shown projection in the background, one fold at a time."""

    def __init__(
        self,
        app: App[None],
        model: Session,
        wanted: Sequence[Reference],
        label: str | None = None,
    ) -> None:
        """Show the wanted projections; without any, the histories of the workspace, `label` first."""
        self._app = app
        self._model = model
        self._wanted = list(wanted)
        self._known: list[FoldRecord] = [] if wanted else model.projections()
        self._surroundings = FoldSpan(model.extent.event_count)
        self._asked_at: int | None = None
        """The position around which the last partial fold was started."""
        labels = [folded.label for folded in self._known]
        self._index = labels.index(label) if label in labels else 0
        self._fold: FoldProcess | ForkFoldThread | None = None
        self._standing: WarmWorker | None = None
        """A worker that stays ready to fold forks."""
        self._told = FoldMessage()
        self._error: str | None = None
        self._shown = 0.0
        self._watch = FileWatcher(self._on_code_saved)
        self._standby = WarmProcess()
        self._old: History | None = None
        """The history to compare the running fold with, if a code edit started it."""
        self._compared = FoldMessage()
        self._compare_after = 0.0
        self.edit: CodeEditComparison | None = None
        """The documents that the last code edit changed."""
        self._on_screen: Callable[..., object] = lambda *_: None
        self._number = 0
        """The number of the running fold; messages of earlier folds are ignored."""
        self._changed: Callable[[], None] = lambda: None

    @property
    def current(self) -> Reference | None:
        """The shown projection; None if its code may not run."""
        return self._wanted[self._index] if self._wanted else None

    @property
    def count(self) -> int:
        return len(self._wanted or self._known)

    @property
    def running(self) -> bool:
        return self._fold is not None

    @property
    def trouble(self) -> bool:
        return self._error is not None

    def begin(self, changed: Callable[[], None]) -> None:
        """Show the first projection; `changed` is called whenever the screen must be redrawn."""
        self._changed = changed
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def on_screen(take: Callable[..., None], *told: object) -> None:
            # Textual reads the active app from the context.
            loop.call_soon_threadsafe(partial(self._app.call_later, take, *told), context=context)

        self._on_screen = on_screen
        self._choose()

    def show_timeline(self) -> None:
        """Show the same projection on the session's current timeline."""
        self._stop()
        self._standby.close()  # it would fold the previous timeline
        self._watch.watch_files({})
        self.edit = None
        self._known = [] if self._wanted else self._model.projections()
        self._index = min(self._index, max(self.count - 1, 0))
        self._surroundings = FoldSpan(self._model.extent.event_count)
        self._choose()

    def fold_new_events(self) -> None:
        """Fold newly loaded events, now or when the running fold has ended."""
        position = self._surroundings.position
        self._surroundings = FoldSpan(self._model.extent.event_count)
        self._surroundings.position = position
        if self._fold is None and self._error is None:
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
        if self._fold is not None:
            self._asked_at = self._surroundings.position
            self._fold.cancel()

    def close(self) -> None:
        """Stop all folds and processes, and wait for them."""
        self._watch.close()
        self._standby.close()
        self._stop()
        if self._standing is not None:
            self._standing.close()

    def clear_code_edit(self) -> None:
        """Stop comparing with the history before the last code edit."""
        self.edit = None
        self._changed()

    def _stop(self) -> None:
        if self._fold is not None:
            fold, self._fold = self._fold, None
            fold.close()

    def status_text(self) -> str:
        """Return the state of the fold in a few words, for the header."""
        if self._error is not None:
            return self._error
        if self._fold is not None:
            done, total = self._told.folded, self._told.events
            what = "folding edited code" if self._old is not None else "folding"
            return f"{what} {done:,} of {total:,} · c cancel" if total else "starting the fold …"
        history = self._model.history
        if history is None:
            return "no projection (start with -p FILE)"
        folded, events = history.fold_record, self._model.extent.event_count
        if folded.is_partial:
            return f"folded from {folded.first_offset:,} to {folded.next_offset - 1:,}"
        if folded.next_offset < events:
            return f"folded up to {folded.next_offset:,} of {events:,}"
        failed = f" · {folded.failure_count:,} failed" if folded.failure_count else ""
        skipped = f" · {folded.skipped_events:,} skipped" if folded.skipped_events else ""
        return f"folded {folded.next_offset:,}{failed}{skipped}"

    def _choose(self) -> None:
        self._error = None
        self._number += 1
        find = partial(self._find_history, self._number, self.current, self._index)
        self._app.run_worker(find, thread=True, group="folds", exit_on_error=False)

    def _find_history(self, number: int, wanted: Reference | None, index: int) -> None:
        """Find the history of the projection, in a thread."""
        sight = error = None
        try:
            if wanted is not None:
                self._surroundings.set_projection(wanted)
                folded = self._model.find(wanted)
                if folded is not None and self._is_current(folded):
                    sight = self._model.query_history(folded)
            elif self._known:
                sight = self._model.query_history(self._known[index])
        except RefoldError as raised:
            error = raised.message
        except Exception as raised:  # noqa: BLE001 - a query that failed must not end the screen
            error = f"The history can't be read: {summarize_error(raised)}"
        self._on_screen(self._found, number, sight, error)

    def _is_current(self, folded: FoldRecord) -> bool:
        """Whether code, recordings and timeline are unchanged since the fold."""
        timeline = folded.timeline_digest == self._model.workspace.timeline_digest
        return folded.is_code_unchanged and folded.are_recordings_unchanged and timeline

    def _found(self, number: int, sight: HistoryView | None, error: str | None) -> None:
        if number != self._number:
            return
        self._model.show_history(sight)
        self._error = error
        if self.current is None or error is not None or self._complete(sight):
            self._watch_files()
            self._changed()
        else:
            self._start(force=False)

    def _complete(self, sight: HistoryView | None) -> bool:
        return sight is not None and self._surroundings.is_complete(sight.history.fold_record)

    def fold_around(self, position: int) -> None:
        """Fold the events around a position, if the projection is folded only in parts."""
        self._surroundings.position = position
        history = self._model.history
        if self._fold is not None or self._error is not None or history is None:
            return
        if self._surroundings.span is None:
            return  # this projection is folded as a whole, or the person cancelled it
        # Don't restart a fold that the person cancelled at this position.
        if position != self._asked_at and not self._surroundings.is_complete(history.fold_record):
            self._asked_at = position
            self._start(force=False)

    def _start(self, *, force: bool, old: History | None = None) -> None:
        wanted = self.current
        if wanted is None:
            return
        self._error = None
        self._told = self._compared = FoldMessage()
        self._compare_after = 0.0
        self._old = old
        self._number += 1
        heard = partial(self._on_fold_message, self._number, wanted, old)
        workspace = self._model.workspace
        workspace.release()  # the fold needs the write lock
        fork = as_fork(workspace)
        if fork is not None and not is_over_all_events(wanted.text):
            self._fold = self._forked(fork, wanted, heard)
        elif (
            workspace.timeline == MAIN_TIMELINE
            and not force
            and (ready := self._standby.take(wanted))
        ):
            self._fold = ready
            ready.start(heard)
        else:
            span = self._surroundings.span
            self._fold = FoldProcess(workspace, wanted, heard, force=force, span=span)
        self._changed()

    def _forked(
        self, seen: ForkedWorkspace, wanted: Reference, heard: Callable[[FoldMessage], None]
    ) -> "ForkFoldThread":
        from replay.forks.warm_worker import WarmWorker  # noqa: PLC0415 - imports Arrow
        from tui.folding.fork_fold import ForkFoldThread  # noqa: PLC0415 - imports Arrow, as WarmWorker does

        self._standing = self._standing or WarmWorker()
        return ForkFoldThread(seen, wanted, heard, self._standing)

    def _on_fold_message(
        self, number: int, wanted: Reference, old: History | None, told: FoldMessage
    ) -> None:
        """Handle a message in the fold's thread, which must not wait for the screen: it may be closing."""
        now = time.monotonic()
        more = told.changes > self._compared.changes and now > self._compare_after
        if told.has_ended or now - self._shown > _REFRESH_SECONDS or (old is not None and more):
            self._shown = now
            sight = edit = None
            try:
                folded = self._model.find(wanted)
                whole = folded is not None and self._surroundings.is_complete(folded)
                if folded is not None and (old is None or (told.has_ended and whole)):
                    sight = self._model.query_history(folded)
                if folded is not None and old is not None and (more or told.has_ended):
                    edit = self._compare_code_edit(old, folded, told)
            except RefoldError:
                pass  # the next message tries again
            except Exception as raised:  # noqa: BLE001 - a query that failed must not end the fold
                trouble = f"The histories can't be read: {summarize_error(raised)}"
                told = replace(told, error=told.error or trouble)
            self._model.workspace.release()  # the fold needs the write lock
            with contextlib.suppress(RuntimeError):  # the screen is closed
                self._on_screen(self._take, number, told, sight, edit)

    def _compare_code_edit(
        self, old: History, folded: FoldRecord, told: FoldMessage
    ) -> CodeEditComparison | None:
        """Return what a code edit changed so far; None if the code is unchanged or not folded yet."""
        if folded.projection_number == old.fold_record.projection_number:
            return None
        started = time.monotonic()
        edit = code_edit.compare_code_edit(old, History(self._model.workspace, folded))
        self._compared = told
        now = time.monotonic()
        self._compare_after = now + _COMPARISON_NOTE * (now - started)
        return edit

    def _take(
        self,
        number: int,
        told: FoldMessage,
        sight: HistoryView | None,
        edit: CodeEditComparison | None,
    ) -> None:
        if self._fold is None or number != self._number:
            return
        self._told = told
        if sight is not None:
            self._model.show_history(sight)
        if edit is not None or (told.has_ended and told.error is None):
            self.edit = edit
        if told.has_ended:
            self._fold = None
            self._error = told.error
            # The old history stays until the edited code is folded to the end.
            unfinished = self._old is not None and sight is None
            if told.error is not None:
                # The header may be too narrow for the message.
                self._app.notify(
                    sanitize_line(told.error), severity="error", markup=False, timeout=10
                )
            elif unfinished:
                self._app.notify(
                    "The edited code isn't fully folded. You see the old states. Press r to fold."
                )
            elif edit is not None and not edit.differing_documents:
                self._app.notify("The code edit changes no state.", timeout=4)
            if not unfinished or told.error is not None:  # else the fold would restart at once
                self._watch_files()
            # Fold again if the log grew during the fold; a cancelled fold does not reach its own end.
            if (
                told.error is None
                and 0 < told.events == told.folded < self._model.extent.event_count
            ):
                self._choose()
        self._changed()

    # Saving

    def _watch_files(self) -> None:
        """Watch the files of the shown projection, and start a process that waits to fold them."""
        wanted, history = self.current, self._model.history
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

    def _stand_by(self) -> None:
        wanted = self.current
        whole = (
            self._surroundings.span is None and self._model.workspace.timeline == MAIN_TIMELINE
        )  # only a fold of the whole log can be prepared
        if wanted is not None and whole and self._fold is None:
            self._standby.start(self._model.workspace, wanted)

    def _on_code_saved(self) -> None:
        """Called in the file watcher's thread."""
        with contextlib.suppress(RuntimeError):  # the screen is closed
            self._on_screen(self._fold_saved_code)

    def _fold_saved_code(self) -> None:
        """Fold the saved code, replacing a running fold."""
        old = self._old if self._fold is not None and self._old is not None else None
        old = old or self._model.history
        if self._fold is None:
            self._start(force=False, old=old)
            return
        self._number += 1
        stop = partial(self._stop_running_fold, self._number, self._fold, old)
        self._app.run_worker(stop, thread=True, group="folds", exit_on_error=False)

    def _stop_running_fold(
        self, number: int, fold: "FoldProcess | ForkFoldThread", old: History | None
    ) -> None:
        """Stop a fold in a thread, because it saves what it has before it ends."""
        fold.close()
        self._on_screen(self._stopped_for_edit, number, old)

    def _stopped_for_edit(self, number: int, old: History | None) -> None:
        if number == self._number:
            self._start(force=False, old=old)
