"""One fold, as the workspace and the person see it: what it may use, how far it is, its place.

Whatever folds is registered here as a projection of the workspace, tells here how far it has come,
and is stopped here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from replay.event_fold.history_writer import HistoryWriter
from replay.history import catalogue
from replay.projection import projection_reference
from replay.projection.projection_reference import Reference
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.errors import CancelledError
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class FoldProgress:
    """How far a fold has come."""

    folded: int
    events: int
    keys: int
    failures: int
    kept: int
    """Events whose states can be asked for."""


DEFAULT_DOCUMENT_BUDGET_BYTES = 1 << 30
"""Bytes that documents may take where nothing else is said."""

OnFoldProgress = Callable[[FoldProgress], None]


@dataclass(frozen=True)
class FoldLimits:
    """What a fold may use."""

    workers: int
    patience_seconds: float
    """Seconds for one event."""
    memory_bytes: int | None
    """Bytes for all workers; None: most of this machine's."""

    @property
    def document_budget_bytes(self) -> int:
        """Bytes for all documents together, before they are folded share after share."""
        return (
            DEFAULT_DOCUMENT_BUDGET_BYTES
            if self.memory_bytes is None
            else self.memory_bytes * 7 // 10
        )


class FoldRun:
    """A projection on a timeline, while it is being folded."""

    def __init__(
        self,
        workspace: Workspace,
        reference: Reference,
        event_count: int,
        limits: FoldLimits,
        on_progress: OnFoldProgress | None,
        is_cancelled: Callable[[], bool],
        gateway_bridge: GatewayBridge,
    ) -> None:
        self.workspace = workspace
        self.reference = reference
        self.event_count = event_count
        """Events of the log."""
        self.limits = limits
        self.gateway_bridge = gateway_bridge
        self.is_cancelled = is_cancelled
        self.generation = workspace.main_workspace.generation
        """The workspace's generation whose events are folded; see `Workspace.generation`."""
        self.projection_number = 0
        """Its row in `projections`, once it is registered."""
        self._on_progress = on_progress

    def start_history(self, ready: Mapping[str, Any], *, force: bool) -> HistoryWriter:
        """Its history, to be folded on; from the start where it is forced."""
        files, invariants = ready["files"], ready["invariants"]
        code_hash = projection_reference.hash_projection(
            files, ready["python"], self.reference.gateway_settings
        )
        with self.workspace.writing(generation=self.generation) as connection:
            self.projection_number = catalogue.register_projection(
                connection, self.reference, self.reference.name, code_hash, files, invariants
            )
            if force:
                catalogue.delete_fold(connection, self.projection_number, self.workspace.timeline)
            writer = HistoryWriter(
                self.workspace,
                self.projection_number,
                self.gateway_bridge.recordings_version,
                self.gateway_bridge.broker.redactor.redact_text,
                generation=self.generation,
            )
            writer.resume(connection)
        return writer

    def report_progress(self, writer: HistoryWriter, *, folded_events: int | None = None) -> None:
        """Tell how far it is, or how much is `done` otherwise; raises `CancelledError` where
        that is enough."""
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
        """Stop if the person wants it, where nothing was kept yet."""
        if self.is_cancelled():
            raise CancelledError("Stopped; nothing of it was kept.")

    def raise_if_cancelled_at(self, writer: HistoryWriter) -> None:
        """Stop if the person wants it."""
        if self.is_cancelled():
            raise CancelledError(
                f"Stopped at offset {writer.next_offset:,} of {self.event_count:,};"
                " what was folded is kept, and the next fold goes on from there."
            )

    def evict_old_histories(self) -> None:
        """At the end, as what is to be seen first needn't wait for it."""
        with self.workspace.reading() as connection:
            surplus = catalogue.find_evictable_projections(connection, self.projection_number)
        if surplus:
            with self.workspace.writing(generation=self.generation) as connection:
                for number in catalogue.find_evictable_projections(
                    connection, self.projection_number
                ):
                    catalogue.delete_fold(connection, number)
