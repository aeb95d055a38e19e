"""Writes a history: the batch results of a worker into the tables of the workspace.

Rows wait in Arrow tables until there are enough of them. Each flush is one transaction, sorted by
bucket, that also updates `folds` with the next offset. Readers therefore see every flushed state while
the fold goes on, and a kill loses the rows since the last flush, never a part of a flush.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.query.number_columns import NumberColumns
from replay.worker_host.batch_result import BatchResult
from storage.coordinates.fold_scope import FoldScope
from storage.folds import fold_rows
from storage.folds.fold_insertion import FoldInsertion
from storage.folds.fold_rows import FoldRow
from storage.workspace import schema
from storage.workspace.workspace import Workspace

_MAX_PENDING_ROWS = 400_000
"""Changes and parts that may wait for a flush."""
_MAX_PENDING_BYTES = 128_000_000
"""Bytes of states that may wait for a flush; sorting and packing more takes too much memory."""


class ConcurrentFoldError(Exception):
    """Another process folds the same projection and wrote first."""


class HistoryWriter:
    """Writes the history of one projection on one timeline during a fold."""

    def __init__(
        self,
        workspace: Workspace,
        projection_number: int,
        recordings_version: int = 0,
        redact: Callable[[str], str] = str,
        generation: str | None = None,
    ) -> None:
        """`recordings_version` is the version of the recordings that answer the calls, `redact`
        removes secrets from the texts that handlers raised and printed, and `generation` is the
        workspace's generation from which the events were read."""
        self._recordings_version = recordings_version
        self._generation = generation
        self._flushed: tuple[Any, ...] | None = None
        """The identity of the last flush in the file, see `FoldRow.flush_id`; None before the first."""
        self.flushed_row: FoldRow | None = None
        """The progress that was flushed last; None before the first flush."""
        self.isolation: str | None = None
        """How the worker was sandboxed."""
        self._redact = redact
        self._workspace = workspace
        self._projection_number = projection_number
        self._history: list[pa.Table] = []
        self._parts: list[pa.Table] = []
        self._new_documents: list[pa.Table] = []
        self._routes: list[pa.Table] = []
        self._failures: list[Mapping[str, Any]] = []
        self._invariant_transitions: list[Mapping[str, Any]] = []
        self._printed: list[Mapping[str, Any]] = []
        self._upcasts: list[Mapping[str, Any]] = []
        self._calls: list[pa.Table] = []
        self._call_decisions: list[Mapping[str, Any]] = []
        self._reads: list[Mapping[str, Any]] = []
        self.unhandled_by_type: Counter[str] = Counter()
        self.round_trips_json: bool | None = None
        """See `FoldRecord.round_trips_json`; unknown before the worker ends."""
        self.flushed_until = 0
        """The next offset in the workspace after this writer's last flush."""
        self.first_offset = 0
        """See `FoldRecord.first_offset`."""
        self.next_offset = 0
        self.document_count = 0
        self.change_count = 0
        self.part_change_count = 0
        """Rows in `parts`, for documents that are kept in parts."""
        self._number_columns = NumberColumns()
        self.call_count = 0
        """Calls to the outside, including refused attempts."""
        self.failure_count = 0
        self.skipped_events = 0
        self._seconds = 0.0
        self.pending_rows = 0
        """Changes and parts that are not flushed yet."""
        self._pending_bytes = 0

    def resume(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Load the counts of the last flush, so that the fold continues after it."""
        row = fold_rows.read_fold(connection, self.scope)
        if row is None:
            return
        self.first_offset, self.next_offset = row.first_offset, row.next_offset
        self.document_count, self.change_count = row.document_count, row.change_count
        self.part_change_count, self.failure_count = row.part_change_count, row.failure_count
        self.skipped_events = row.skipped_events
        self.unhandled_by_type = Counter(row.unhandled_by_type)
        self._seconds, self.call_count = row.seconds, row.call_count
        self._number_columns = NumberColumns(row.number_columns)
        self.flushed_until = self.next_offset
        self._flushed, self.flushed_row = row.flush_id, row

    def add_batch(self, batch_result: BatchResult, end_offset: int) -> None:
        """Add the result of a batch whose events end before `end_offset`."""
        rows = batch_result.changes
        count = rows.num_rows
        previous = rows["previous"].to_numpy()
        first = previous < 0
        in_parts = rows["in_parts"]
        self._history.append(
            pa.table(
                {
                    "key": rows["key"],
                    "offset": rows["offset"],
                    "change": np.arange(self.change_count, self.change_count + count),
                    "state": pc.if_else(in_parts, "{}", rows["state"]),
                    "previous": pa.array(previous, mask=first),
                    "in_parts": in_parts,
                }
            )
        )
        if batch_result.parts is not None:
            change_rows = batch_result.parts["row"]
            change = pc.add(change_rows, self.change_count)
            identity_columns = {
                "change": change,
                "key": rows["key"].take(change_rows),
                "offset": rows["offset"].take(change_rows),
            }
            columns = [batch_result.parts[name] for name in ("part", "place", "state")]
            self._parts.append(
                pa.table(
                    {
                        **identity_columns,
                        **dict(zip(("part", "place", "state"), columns, strict=True)),
                    }
                )
            )
            self.part_change_count += len(change_rows)
            self.pending_rows += len(change_rows)
        new_rows = pa.array(np.flatnonzero(first))
        ordinals = pa.array(np.arange(self.document_count, self.document_count + len(new_rows)))
        keys, change_rows = rows["key"].take(new_rows), rows["offset"].take(new_rows)
        self._new_documents.append(
            pa.table({"ordinal": ordinals, "key": keys, "born": change_rows})
        )
        if batch_result.routes is not None:
            self._routes.append(batch_result.routes.select(["offset", "key"]))
        self._failures.extend(self._redact_reports(batch_result.failures, "error", "traceback"))
        self._invariant_transitions.extend(batch_result.invariant_transitions)
        self._printed.extend(self._redact_reports(batch_result.printed, "text"))
        self._upcasts.extend(batch_result.upcasts)
        if batch_result.calls is not None:
            self._calls.append(batch_result.calls)
            self.call_count += batch_result.calls.num_rows
        self._call_decisions.extend(
            self._redact_reports(batch_result.call_decisions, "request", "stack")
        )
        self.call_count += len(batch_result.call_decisions)
        self._reads += [
            {"offset": one["offset"], "key": one["key"], "read": name}
            for one in batch_result.reads
            for name in one["read"]
        ]
        self.unhandled_by_type.update(batch_result.unhandled_by_type)
        self.skipped_events += sum(batch_result.unhandled_by_type.values())
        self.failure_count += len(batch_result.failures)
        self.document_count += len(new_rows)
        self.change_count += count
        self.pending_rows += count
        self._pending_bytes += batch_result.state_bytes
        self.next_offset = end_offset

    def raise_if_overtaken(self) -> None:
        """Raise `ConcurrentFoldError` if another process continued or deleted this fold."""
        with self._workspace.reading() as connection:
            if read_flush_id(connection, self.scope) != self._flushed:
                raise ConcurrentFoldError

    @property
    def is_full(self) -> bool:
        """Whether the waiting rows must be flushed before more are added."""
        return self.pending_rows >= _MAX_PENDING_ROWS or self._pending_bytes >= _MAX_PENDING_BYTES

    def _redact_reports(
        self, reports: Sequence[Mapping[str, Any]], *names: str
    ) -> list[Mapping[str, Any]]:
        """Return the reports with secrets removed from the fields of these names."""
        return [
            {**one, **{name: self._redact(one[name]) for name in names if one[name]}}
            for one in reports
        ]

    def flush(self, seconds: float, *, alone: bool = True) -> None:
        """Write all waiting rows; `seconds` is the time spent since the last flush.

        `alone` uses all cores, because no worker runs during the flush.

        Raises `ConcurrentFoldError`, and writes nothing, if another process has continued the fold
        meanwhile, and `StaleError` if the workspace was rewritten.
        """
        self._seconds += seconds
        with self._workspace.writing(
            use_all_cores=alone, generation=self._generation
        ) as connection:
            self._begin_flush(connection)
            self._write_rows(connection)
            self._write_documents(FoldInsertion(connection, self.scope))
            self._write_fold_record(connection)
        self._flushed = None if self.flushed_row is None else self.flushed_row.flush_id
        self._history, self._parts, self._routes = [], [], []
        self._failures, self._invariant_transitions, self._printed, self._upcasts = [], [], [], []
        self._calls, self._call_decisions, self._reads = [], [], []
        self.pending_rows = self._pending_bytes = 0
        self.flushed_until = self.next_offset

    @property
    def scope(self) -> FoldScope:
        """Selects the rows that it writes."""
        return FoldScope(self._projection_number, self._workspace.timeline)

    def set_recordings_version(self, version: int) -> None:
        """Note the version of the recordings that now hold the answers of this fold's calls."""
        self._recordings_version = version
        if self.flushed_row is not None:
            self.flushed_row = replace(self.flushed_row, recordings_version=version)

    def _begin_flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        if read_flush_id(connection, self.scope) != self._flushed:
            raise ConcurrentFoldError

    def _write_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        insertion = FoldInsertion(connection, self.scope)
        if self._history:
            history = pa.concat_tables(self._history)
            insertion.insert_history(self._number_columns.append_to(connection, history))
        if self._parts:
            insertion.insert_parts(pa.concat_tables(self._parts))
        if self._routes:
            insertion.insert_routes(pa.concat_tables(self._routes))
        insertion.insert_reports(schema.FAILURES, self._failures)
        insertion.insert_reports(schema.TURNS, self._invariant_transitions)
        insertion.insert_reports(schema.PRINTED, self._printed)
        insertion.insert_reports(schema.UPCASTS, self._upcasts)
        insertion.insert_reports(schema.DECISIONS, self._call_decisions)
        insertion.insert_reports(schema.READS, self._reads)
        if self._calls:
            insertion.insert_recorded_decisions(pa.concat_tables(self._calls))

    def _write_documents(self, insertion: FoldInsertion) -> None:
        if self._new_documents:
            insertion.insert_documents(pa.concat_tables(self._new_documents))
        self._new_documents = []

    def _write_fold_record(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.flushed_row = self._build_fold_row()
        fold_rows.write_fold(connection, self.scope, self.flushed_row)

    def _build_fold_row(self) -> FoldRow:
        return FoldRow(
            first_offset=self.first_offset,
            next_offset=self.next_offset,
            skipped_events=self.skipped_events,
            unhandled_by_type=dict(self.unhandled_by_type),
            failure_count=self.failure_count,
            document_count=self.document_count,
            change_count=self.change_count,
            part_change_count=self.part_change_count,
            round_trips_json=self.round_trips_json,
            call_count=self.call_count,
            recordings_version=self._recordings_version,
            isolation=self.isolation,
            number_columns=self._number_columns.pointers_json,
            seconds=self._seconds,
            timeline_digest=self._workspace.timeline_digest,
        )


def read_flush_id(
    connection: duckdb.DuckDBPyConnection, scope: FoldScope
) -> tuple[Any, ...] | None:
    """Return the identity of the last flush of a fold; None before the first."""
    row = fold_rows.read_fold(connection, scope)
    return None if row is None else row.flush_id
