"""A background fold of a fork: in a thread, with a warm worker, because little of a fork differs.

A new fork is saved together with its fold, or alone if the fold fails. Nothing is saved if another
process has edited or removed the fork in the meantime.
"""

import contextlib
import threading
from collections.abc import Callable

from replay import fold
from replay.event_fold.fold_run import FoldCallbacks, FoldProgress
from replay.forks import edit_builder
from replay.forks.warm_worker import WarmWorker
from replay.projection.projection_reference import Reference
from storage.errors import CancelledError, RefoldError, StaleError, summarize_error
from storage.timelines.forked_workspace import ForkedWorkspace
from tui.folding.fold_process import FoldMessage


class ForkFoldThread:
    """A running fold of a fork. `tell` is called from the fold's thread."""

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
        """Ask the fold to stop; the fork is saved, its fold is not."""
        self._stopped.set()

    def close(self) -> None:
        """Stop the fold, and wait up to 10 seconds for it."""
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
                callbacks=FoldCallbacks(progress, self._stopped.is_set),
                warm_worker=self._standing,
            )
        except CancelledError:
            self._keep()
        except StaleError as raised:
            # A later edit, most often from this screen, has replaced the fork.
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
