"""Folding a fork while the screen is used: in a thread, as little of it differs and a worker stands by.

A fork that isn't kept yet is kept with its fold, and without it if that fails. A fork that another
process has edited or removed meanwhile is not written.
"""

import contextlib
import threading
from collections.abc import Callable

from replay import fold
from replay.event_fold.fold_run import FoldProgress
from replay.forks import edit_builder
from replay.forks.warm_worker import WarmWorker
from replay.projection.projection_reference import Reference
from storage.errors import CancelledError, RefoldError, StaleError, summarize_error
from storage.timelines.forked_workspace import ForkedWorkspace
from tui.folding.fold_process import FoldMessage


class ForkFoldThread:
    """A running fold. `tell` is called from a thread of its own."""

    def __init__(
        self,
        seen: ForkedWorkspace,
        wanted: Reference,
        tell: Callable[[FoldMessage], None],
        standing: WarmWorker,
    ) -> None:
        self._seen = seen
        self._wanted = wanted
        self._tell = tell
        self._standing = standing
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fold, daemon=True, name="fork")
        self._thread.start()

    def cancel(self) -> None:
        """Ask it to stop; nothing of the fold is kept, but the fork is."""
        self._stopped.set()

    def close(self) -> None:
        """Stop it, and wait until it has."""
        self.cancel()
        self._thread.join(timeout=10)

    def _fold(self) -> None:
        last = FoldMessage()

        def progress(p: FoldProgress) -> None:
            nonlocal last
            last = FoldMessage(p.folded, p.events, 0)
            self._tell(last)

        error = None
        try:
            fold.fold_projection(
                self._seen,
                self._wanted,
                on_progress=progress,
                cancelled=self._stopped.is_set,
                warm_worker=self._standing,
            )
        except CancelledError:
            self._keep()
        except StaleError as raised:
            # Another edit, most often of this screen, has taken its place.
            error = None if self._stopped.is_set() else raised.message
        except RefoldError as raised:
            error = raised.message
            self._keep()
        except Exception as raised:  # noqa: BLE001 - what failed must not end the screen
            error = f"The fork can't be folded: {summarize_error(raised)}"
            self._keep()
        self._tell(FoldMessage(last.folded, last.events, last.events, has_ended=True, error=error))

    def _keep(self) -> None:
        with contextlib.suppress(RefoldError):
            edit_builder.save_fork(self._seen)
