"""What a fold reports besides states: failures, printed output, upcast events and violated invariants."""

from collections.abc import Iterator

from replay.history.catalogue import FoldRecord
from storage.coordinates.offset_set import Offsets
from storage.folds import report_rows
from storage.folds.failure_rows import Failure, FailureRows
from storage.folds.report_rows import (
    InvariantRows,
    InvariantViolation,
    PrintedRows,
    UnhandledEvents,
    UpcastRecord,
    UpcastRows,
)
from storage.workspace.workspace import Workspace

__all__ = ["Failure", "FoldReports", "InvariantViolation", "UnhandledEvents", "UpcastRecord"]


class FoldReports:
    """Queries for everything but states, of one projection on one timeline."""

    def __init__(self, workspace: Workspace, fold_record: FoldRecord) -> None:
        self._workspace = workspace
        self.fold_record = fold_record
        self.scope = fold_record.scope
        self._failure_rows = FailureRows(workspace, self.scope)
        self._upcast_rows = UpcastRows(workspace, self.scope)
        self._printed_rows = PrintedRows(workspace, self.scope)

    @property
    def workspace(self) -> Workspace:
        return self._workspace

    def invariant_violations(self) -> list[InvariantViolation]:
        """Return the violations of invariants that are Python functions, in the order of the log."""
        return InvariantRows(self._workspace, self.scope).read_violations()

    def failures(self, first_offset: int = 0, limit: int | None = None) -> list[Failure]:
        """Return the failures from an offset on, in the order of the log, at most `limit`."""
        return self._failure_rows.read_from(first_offset, limit)

    def failures_at(self, offset: int) -> list[Failure]:
        """Return the failures at one event."""
        return self._failure_rows.read_at(offset)

    def failure_offsets(self) -> "Offsets[int]":
        """Return all offsets at which a handler raised."""
        return self.offsets_in("failures")

    def upcast_record_at(self, offset: int) -> UpcastRecord | None:
        """Return an event as the projection's `upcast` returned it; None if it wasn't changed."""
        return self._upcast_rows.read_at(offset)

    def upcast_offsets(self) -> "Offsets[int]":
        """Return the offsets of all events that were upcast."""
        return self.offsets_in("upcasts")

    def unhandled_events(self) -> list[UnhandledEvents]:
        """Return the types and versions of events without a handler, by first occurrence.

        Scans the events.
        """
        return self._upcast_rows.read_unhandled_events(
            list(self.fold_record.unhandled_by_type), self.fold_record.next_offset
        )

    def printed_output_at(self, offset: int) -> str:
        """Return what handlers wrote to standard output and error at one event; may be empty."""
        return self._printed_rows.read_at(offset)

    def printed_output(self, limit: int | None = None) -> Iterator[tuple[int, str]]:
        """Yield offsets and the texts that handlers printed there, in the order of the log."""
        return self._printed_rows.iterate_texts(limit)

    def printed_offsets(self) -> "Offsets[int]":
        """Return all offsets at which a handler printed something."""
        return self.offsets_in("printed")

    def offsets_in(self, table: str) -> "Offsets[int]":
        """Return all offsets that a table of the workspace has for this fold.

        `table` goes into the SQL unquoted, so it must be a constant.
        """
        return report_rows.read_offsets(self._workspace, self.scope, table)
