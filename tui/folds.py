"""The projections of a screen: which one is looked at, and the fold that is running for it.

Opening a workspace runs no code but that of the projections named on the command line.
"""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Sequence
from functools import partial

from textual.app import App

from replay.catalogue import Folded
from replay.reference import Reference
from storage.errors import RefoldError, one_line
from tui.background_fold import BackgroundFold, Told
from tui.model import Model, Sight
from tui.printable import printable

_REFRESH_SECONDS = 0.7


class Folds:
    """Folds what was asked for, one after the other, while the screen is used."""

    def __init__(
        self,
        app: App[None],
        model: Model,
        wanted: Sequence[Reference],
        label: str | None = None,
    ) -> None:
        """Look at what was named, else at what the workspace has: the history called `label` first."""
        self._app = app
        self._model = model
        self._wanted = list(wanted)
        self._known: list[Folded] = [] if wanted else model.projections()
        labels = [folded.label for folded in self._known]
        self._index = labels.index(label) if label in labels else 0
        self._fold: BackgroundFold | None = None
        self._told = Told()
        self._error: str | None = None
        self._shown = 0.0
        self._on_screen: Callable[..., object] = lambda *_: None
        self._number = 0
        """Which fold is running; what an earlier one still says is not heard."""
        self._changed: Callable[[], None] = lambda: None

    @property
    def current(self) -> Reference | None:
        """The projection that is looked at, if its code may be run."""
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
        """Look at the first projection; `changed` is called whenever there is more to see."""
        self._changed = changed
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def on_screen(take: Callable[..., None], *told: object) -> None:
            # Textual finds its app in the context.
            loop.call_soon_threadsafe(partial(self._app.call_later, take, *told), context=context)

        self._on_screen = on_screen
        self._choose()

    def next(self) -> None:
        """Look at another projection."""
        self.close()
        self._index = (self._index + 1) % max(self.count, 1)
        self._choose()

    def anew(self) -> None:
        """Fold the current projection from the start."""
        self.close()
        self._start(force=True)

    def cancel(self) -> None:
        """Stop the running fold; what it has is kept."""
        if self._fold is not None:
            self._fold.cancel()

    def close(self) -> None:
        """Stop and wait; for leaving."""
        if self._fold is not None:
            fold, self._fold = self._fold, None
            fold.close()

    def state(self) -> str:
        """A few words about how things stand, for the header."""
        if self._error is not None:
            return self._error
        if self._fold is not None:
            done, total = self._told.folded, self._told.events
            return f"folding {done:,} of {total:,} · c cancels" if total else "starting to fold …"
        history = self._model.history
        if history is None:
            return "no projection: name one with -p"
        folded, events = history.folded, self._model.extent.events
        if folded.folded < events:
            return f"folded up to {folded.folded:,} of {events:,}"
        failed = f" · {folded.failures:,} failed" if folded.failures else ""
        skipped = f" · {folded.skipped:,} skipped" if folded.skipped else ""
        return f"folded {folded.folded:,}{failed}{skipped}"

    def _choose(self) -> None:
        self._error = None
        self._number += 1
        find = partial(self._find, self._number, self.current, self._index)
        self._app.run_worker(find, thread=True, group="folds", exit_on_error=False)

    def _find(self, number: int, wanted: Reference | None, index: int) -> None:
        """What there is of the projection to look at; asked in a thread."""
        sight = error = None
        try:
            if wanted is not None:
                folded = self._model.find(wanted)
                if folded is not None and folded.code_unchanged:
                    sight = self._model.sight(folded)
            elif self._known:
                sight = self._model.sight(self._known[index])
        except RefoldError as raised:
            error = raised.message
        except Exception as raised:  # noqa: BLE001 - a query that failed must not end the screen
            error = f"The history can't be read: {one_line(raised)}"
        self._on_screen(self._found, number, sight, error)

    def _found(self, number: int, sight: Sight | None, error: str | None) -> None:
        if number != self._number:
            return
        self._model.choose(sight)
        self._error = error
        if self.current is None or error is not None or self._complete(sight):
            self._changed()
        else:
            self._start(force=False)

    def _complete(self, sight: Sight | None) -> bool:
        return sight is not None and sight.history.folded.folded >= self._model.extent.events

    def _start(self, *, force: bool) -> None:
        wanted = self.current
        if wanted is None:
            return
        self._error = None
        self._told = Told()
        self._number += 1
        heard = partial(self._heard, self._number, wanted)
        self._fold = BackgroundFold(self._model.workspace, wanted, heard, force=force)
        self._changed()

    def _heard(self, number: int, wanted: Reference, told: Told) -> None:
        """Called in the fold's thread, which never waits for the screen: it may be closing."""
        now = time.monotonic()
        if told.ended or now - self._shown > _REFRESH_SECONDS:
            self._shown = now
            sight = None
            with contextlib.suppress(RefoldError):
                folded = self._model.find(wanted)
                sight = self._model.sight(folded) if folded is not None else None
            with contextlib.suppress(RuntimeError):  # there is no screen any more
                self._on_screen(self._take, number, told, sight)

    def _take(self, number: int, told: Told, sight: Sight | None) -> None:
        if self._fold is None or number != self._number:
            return
        self._told = told
        if sight is not None:
            self._model.choose(sight)
        if told.ended:
            self._fold = None
            self._error = told.error
            if told.error is not None:
                # The header may be too narrow for the sentence.
                self._app.notify(printable(told.error), severity="error", markup=False, timeout=10)
        self._changed()
