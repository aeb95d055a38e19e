"""The snapshot of the current position: shown at once if it is in memory, else queried in a thread.

While a key is held or a query runs, only the last requested position counts.
"""

from collections.abc import Callable
from functools import partial

from tui.screens.main.ports import Notifier, Scheduler, Timer
from tui.state.query_runner import QueryRunner
from tui.state.snapshot import LateDetails, Snapshot
from tui.state.snapshot_query import (
    SnapshotRequest,
    query_late_details,
    query_snapshot,
    snapshot_in_memory,
)
from tui.state.view_state import ViewChange, ViewState

_SETTLE_SECONDS = 0.1


class SnapshotController:
    """Keeps the snapshot of a view state up to date."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        scheduler: Scheduler,
        notifier: Notifier,
        *,
        on_settled: Callable[[], object],
        on_late_details: Callable[[LateDetails], object],
    ) -> None:
        """`on_settled` is called when the position has not changed for a moment."""
        self._state = state
        self._runner = runner
        self._scheduler = scheduler
        self._notifier = notifier
        self._on_settled = on_settled
        self._on_late_details = on_late_details
        self._is_due = False
        self._is_querying = False
        self._is_outdated = False
        self._settling: Timer | None = None
        state.observe(
            self.request,
            *(ViewChange.POSITION, ViewChange.DOCUMENT, ViewChange.BASE),
            *(ViewChange.TIMELINE, ViewChange.LOG, ViewChange.HISTORY),
        )

    @property
    def is_busy(self) -> bool:
        """Whether a query or an update is pending."""
        return self._is_due or self._is_querying or self._settling is not None

    def request(self) -> None:
        """Request a snapshot, after the pending key presses."""
        if not self._is_due:
            self._is_due = True
            self._scheduler.call_later(self._update)

    def _update(self) -> None:
        self._is_due = False
        if self._is_querying:
            self._is_outdated = True
            return
        view, since = self._state.view, self._state.snapshot
        wanted = SnapshotRequest(view.data, view.position, view.key, view.is_pinned, view.base)
        in_memory = snapshot_in_memory(wanted, since)
        if in_memory is not None:
            self._show(in_memory)
            return
        self._is_querying = True
        self._runner.run(
            lambda _: query_snapshot(wanted, since),
            partial(self._on_queried, wanted),
            failure="This position can't be shown",
            on_error=self._on_failed,
        )

    def _on_queried(self, wanted: SnapshotRequest, snapshot: Snapshot) -> None:
        is_outdated = self._end_query()
        # A document pinned during the query takes precedence over its result.
        is_replaced = is_outdated and self._state.view.is_pinned
        if not is_replaced and wanted.data.workspace is self._state.data.workspace:
            self._show(snapshot)

    def _on_failed(self, message: str) -> None:
        self._end_query()
        self._notifier.show_error(message)

    def _end_query(self) -> bool:
        """Note that the query has ended; return whether another snapshot was requested."""
        self._is_querying = False
        is_outdated, self._is_outdated = self._is_outdated, False
        if is_outdated:
            self.request()
        return is_outdated

    def _show(self, snapshot: Snapshot) -> None:
        self._state.show_snapshot(snapshot)
        if self._settling is not None:
            self._settling.stop()
        self._settling = self._scheduler.set_timer(_SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        """The position has settled: query the slower details."""
        self._settling = None
        self._on_settled()
        snapshot, data = self._state.snapshot, self._state.data
        if snapshot is not None:
            self._runner.run(
                lambda _: query_late_details(data, snapshot),
                self._take_late_details,
                group="settle",
                failure="The details can't be shown",
            )

    def _take_late_details(self, details: LateDetails) -> None:
        if (details.position, details.key) == (self._state.position, self._state.key):
            self._state.late_details = details
            self._on_late_details(details)
