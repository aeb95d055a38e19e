"""One running fold: its limits, its progress, its cancellation and its row in the workspace.

Every kind of fold registers its projection, reports its progress and checks for cancellation here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway import recording_store
from gateway.broker import AskPerson
from replay.event_fold.history_writer import HistoryWriter
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.projection import projection_reference
from replay.projection.projection_reference import Reference
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.worker_process import PATIENCE_SECONDS
from storage.errors import CancelledError, ProjectionError
from storage.folds import fold_rows, projection_rows
from storage.folds.fold_rows import StoredFold
from storage.folds.projection_rows import ProjectionRow
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class FoldProgress:
    """The progress of a fold."""

    folded: int
    """Events folded so far."""
    events: int
    """Events of the whole log."""
    keys: int
    """Documents found so far."""
    failures: int
    """Handlers that raised so far."""
    stored_events: int
    """Events whose states are written and can be queried."""


DEFAULT_DOCUMENT_BUDGET_BYTES = 1 << 30
"""Bytes that all documents may take if no memory limit is given."""

OnFoldProgress = Callable[[FoldProgress], None]


@dataclass(frozen=True)
class FoldLimits:
    """The resources that a fold may use."""

    workers: int = 1
    """Workers that share the documents; the history is the same for any number of them."""
    patience_seconds: float = PATIENCE_SECONDS
    """The longest time for one event, in seconds."""
    memory_bytes: int | None = None
    """Bytes for all workers together; None: most of the memory of this machine."""

    @property
    def document_budget_bytes(self) -> int:
        """Bytes for all documents together; above this, the documents are folded in shares."""
        return (
            DEFAULT_DOCUMENT_BUDGET_BYTES
            if self.memory_bytes is None
            else self.memory_bytes * 7 // 10
        )


@dataclass(frozen=True)
class FoldCallbacks:
    """How a fold talks to the person who waits for it."""

    on_progress: OnFoldProgress | None = None
    is_cancelled: Callable[[], bool] = bool
    """Returns true once the person has cancelled the fold."""
    ask: AskPerson | None = None
    """Asks the person for the answer to an unrecorded call, if the settings of its port say so."""


class FoldRun:
    """The fold of one projection on one timeline, while it runs."""

    def __init__(
        self,
        workspace: Workspace,
        reference: Reference,
        event_count: int,
        limits: FoldLimits,
        callbacks: FoldCallbacks,
        gateway_bridge: GatewayBridge,
    ) -> None:
        self.workspace = workspace
        self.reference = reference
        self.event_count = event_count
        """Events of the log."""
        self.limits = limits
        self.gateway_bridge = gateway_bridge
        self.is_cancelled = callbacks.is_cancelled
        self.generation = workspace.main_workspace.generation
        """The workspace's generation whose events are folded; see `Workspace.generation`."""
        self.projection_number = 0
        """The number of its row in `projections`; 0 before it is registered."""
        self._on_progress = callbacks.on_progress
        self._projection_row: ProjectionRow | None = None
        self._writer: HistoryWriter | None = None

    def start_history(self, ready: Mapping[str, Any], *, force: bool) -> HistoryWriter:
        """Register the projection, and return a writer that continues its history.

        `ready` is the worker's ready message. `force` deletes the history first.
        """
        row = build_projection_row(self.reference, ready)
        with self.workspace.writing(generation=self.generation) as connection:
            self.projection_number = projection_rows.register_projection(connection, row)
            if force:
                fold_rows.delete_fold(connection, self.projection_number, self.workspace.timeline)
            writer = HistoryWriter(
                self.workspace,
                self.projection_number,
                self.gateway_bridge.recordings_version,
                self.gateway_bridge.broker.recordings.redactor.redact_text,
                generation=self.generation,
            )
            writer.resume(connection)
        self.set_writer(row, writer)
        return writer

    def set_writer(self, row: ProjectionRow, writer: HistoryWriter) -> None:
        """Take what this writer flushes as the result of the fold of a projection."""
        self._projection_row, self._writer = row, writer

    def build_record(self) -> FoldRecord:
        """Return the record of what was written, without asking the catalogue.

        Raises `ProjectionError` if nothing was written.
        """
        writer = self._writer
        if self._projection_row is None or writer is None or writer.flushed_row is None:
            raise ProjectionError(f"{self.reference.name} was not folded; nothing was written.")
        stored = StoredFold(writer.scope, self._projection_row, writer.flushed_row)
        with self.workspace.main_workspace.reading() as connection:
            version = recording_store.read_version(connection)
        return catalogue.build_fold_record(stored, version, may_read_files=True)

    def save_recordings(self) -> None:
        """Store the calls that this fold made live, as those that answered its calls."""
        version = self.gateway_bridge.save_recordings(self.projection_number)
        if version is not None and self._writer is not None:
            self._writer.set_recordings_version(version)

    def report_progress(self, writer: HistoryWriter, *, folded_events: int | None = None) -> None:
        """Report the progress; raise `CancelledError` if the person cancelled.

        `folded_events` replaces the writer's count while shares are folded before they are written.
        """
        if self._on_progress is not None:
            self._on_progress(
                FoldProgress(
                    writer.next_offset
                    if folded_events is None
                    else max(folded_events, writer.next_offset),
                    self.event_count,
                    writer.document_count,
                    writer.failure_count,
                    writer.flushed_until,
                )
            )
        self.raise_if_cancelled_at(writer)

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` if the person cancelled, for a fold that has written nothing."""
        if self.is_cancelled():
            raise CancelledError("Stopped; nothing was kept.")

    def raise_if_cancelled_at(self, writer: HistoryWriter) -> None:
        """Raise `CancelledError` with the offset reached if the person cancelled."""
        if self.is_cancelled():
            raise CancelledError(
                f"Stopped at offset {writer.next_offset:,} of {self.event_count:,};"
                " the states so far are kept, and the next fold continues there."
            )

    def evict_old_histories(self) -> None:
        """Delete superseded histories beyond the budget; at the end, to delay no first result."""
        with self.workspace.reading() as connection:
            surplus = projection_rows.find_evictable_projections(connection, self.projection_number)
        if surplus:
            with self.workspace.writing(generation=self.generation) as connection:
                for number in projection_rows.find_evictable_projections(
                    connection, self.projection_number
                ):
                    fold_rows.delete_fold(connection, number)


def build_projection_row(reference: Reference, ready: Mapping[str, Any]) -> ProjectionRow:
    """Return the projection that a worker loaded; `ready` is the worker's ready message."""
    settings = reference.gateway_settings
    return ProjectionRow(
        reference.name,
        projection_reference.hash_projection(ready["files"], ready["python"], settings),
        reference.text,
        reference.python,
        ready["files"],
        ready["invariants"],
        settings.digest,
    )
