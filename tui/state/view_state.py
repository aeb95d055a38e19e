"""The view state: the position, the selected document, and their snapshot.

A snapshot that is in memory is shown at once; any other is queried in a thread. While a key is held or
a query runs, only the last requested position counts.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from textual.screen import Screen
from textual.timer import Timer
from textual.worker import get_current_worker

from storage.errors import RefoldError, summarize_error
from storage.log.positions import START
from tui.state.session import Session
from tui.state.snapshot import LateDetails, Snapshot

_SETTLE_SECONDS = 0.1


class Viewer(Protocol):
    """The screen that shows snapshots."""

    def show_snapshot(self, snapshot: Snapshot) -> None: ...

    def on_settled(self) -> None:
        """Called when the position has not changed for a moment."""

    def show_late_details(self, settled: LateDetails) -> None: ...

    def show_error(self, message: str) -> None: ...


class ViewState:
    """The position and selected document, and the snapshot queried for them."""

    def __init__(self, screen: Screen[None], model: Session, viewer: Viewer) -> None:
        self._screen = screen
        self._model = model
        self._viewer = viewer
        self.position = START
        self.key: str | None = None
        self.pinned = False
        """The selected document stays selected, whatever events change."""
        self.snapshot: Snapshot | None = None
        self.settled: LateDetails | None = None
        """The late details last shown; they may belong to an earlier snapshot."""
        self._due = False
        self._asking = False
        self._again = False
        self._settling: Timer | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a query or an update is pending."""
        return self._due or self._asking or self._settling is not None

    def move_to(self, position: int) -> None:
        """Move to another position."""
        self.position = position
        self.request_snapshot()

    def select_document(self, key: str) -> None:
        """Select this document, and pin it."""
        self.key = key
        self.pinned = True
        self.request_snapshot()

    def set_pinned(self, pinned: bool) -> None:
        """Pin the selected document, or select the documents that events change."""
        self.pinned = pinned
        self.request_snapshot()

    def request_snapshot(self) -> None:
        """Request a snapshot, after the pending key presses."""
        if not self._due:
            self._due = True
            self._screen.call_later(self._look)

    def _look(self) -> None:
        self._due = False
        if self._asking:
            self._again = True
            return
        place = partial(self._model.snapshot_at, self.position, self.key, follow=not self.pinned)
        at_hand = place(since=self.snapshot, ask=False)
        if at_hand is not None:
            self._show(at_hand)
            return
        self._asking = True
        ask = partial(self._ask, partial(place, ask=True))
        self._screen.run_worker(ask, thread=True, group="look", exit_on_error=False)

    def _ask(self, look: Callable[[], Snapshot | None]) -> None:
        snapshot: Snapshot | None = None
        trouble = ""
        try:
            snapshot = look()
        except RefoldError as error:
            trouble = error.message
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            trouble = f"This position can't be shown: {summarize_error(error)}"
        if not get_current_worker().is_cancelled:
            self._screen.app.call_from_thread(self._answered, snapshot, trouble)

    def _answered(self, snapshot: Snapshot | None, trouble: str) -> None:
        self._asking = False
        again, self._again = self._again, False
        if again:
            self.request_snapshot()
        if snapshot is None:
            self._viewer.show_error(trouble)
        elif not (again and self.pinned):
            # A document pinned during the query takes precedence over its result.
            self._show(snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.key = snapshot.key
        self._viewer.show_snapshot(snapshot)
        if self._settling is not None:
            self._settling.stop()
        self._settling = self._screen.set_timer(_SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        """The position has settled: query the slower details."""
        self._settling = None
        self._viewer.on_settled()
        if self.snapshot is not None:
            ask = partial(self._ask_settled, self.snapshot)
            self._screen.run_worker(
                ask, thread=True, exclusive=True, group="settle", exit_on_error=False
            )

    def _ask_settled(self, snapshot: Snapshot) -> None:
        settled = self._model.late_details(snapshot)
        if not get_current_worker().is_cancelled:
            self._screen.app.call_from_thread(self._settled, settled)

    def _settled(self, settled: LateDetails) -> None:
        if (settled.position, settled.key) == (self.position, self.key):
            self.settled = settled
            self._viewer.show_late_details(settled)
