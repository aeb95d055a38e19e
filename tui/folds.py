"""The projections of a screen: which one is looked at, and the fold that is running for it.

Opening a workspace runs no code but that of the projections named on the command line.
"""

import time
from collections.abc import Callable, Sequence

from textual.app import App

from replay.catalogue import Folded
from replay.reference import Reference
from tui.background_fold import BackgroundFold, Told
from tui.model import Model

_REFRESH_SECONDS = 0.7


class Folds:
    """Folds what was asked for, one after the other, while the screen is used."""

    def __init__(self, app: App[None], model: Model, wanted: Sequence[Reference]) -> None:
        self._app = app
        self._model = model
        self._wanted = list(wanted)
        self._known: list[Folded] = [] if wanted else model.projections()
        self._index = 0
        self._fold: BackgroundFold | None = None
        self._told = Told()
        self._error: str | None = None
        self._shown = 0.0
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
        wanted = self.current
        if wanted is None:
            self._model.choose(self._known[self._index] if self._known else None)
            self._changed()
            return
        folded = self._model.find(wanted)
        if folded is not None and folded.code_unchanged:
            self._model.choose(folded)
            if folded.folded >= self._model.extent.events:
                self._changed()
                return
        else:
            self._model.choose(None)
        self._start(force=False)

    def _start(self, *, force: bool) -> None:
        wanted = self.current
        if wanted is None:
            return
        self._error = None
        self._told = Told()
        self._fold = BackgroundFold(self._model.workspace, wanted, self._heard, force=force)
        self._changed()

    def _heard(self, told: Told) -> None:
        """Called in the fold's thread."""
        now = time.monotonic()
        if told.ended or now - self._shown > _REFRESH_SECONDS:
            self._shown = now
            wanted = self.current
            folded = None if wanted is None else self._model.find(wanted)
            self._app.call_from_thread(self._take, told, folded)

    def _take(self, told: Told, folded: Folded | None) -> None:
        if self._fold is None:
            return
        self._told = told
        if folded is not None:
            self._model.choose(folded)
        if told.ended:
            self._fold = None
            self._error = told.error
        self._changed()
