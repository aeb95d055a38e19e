"""Writes a history: the batch results of a worker into the tables of the workspace.

Rows wait in Arrow tables until there are enough of them. Each flush is one transaction, sorted by
bucket, that also updates `folds` with the next offset. Readers therefore see every flushed state while
the fold goes on, and a kill loses the rows since the last flush, never a part of a flush.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.query.number_columns import NumberColumns
from replay.worker_host.batch_result import BatchResult
from storage.workspace import schema
from storage.workspace.workspace import Workspace

_MAX_PENDING_ROWS = 400_000
"""Changes and parts that may wait for a flush."""
_MAX_PENDING_BYTES = 128_000_000
"""Bytes of states that may wait for a flush; sorting and packing more takes too much memory."""

BUCKET_SQL = "CAST(md5_number(key) & 4294967295 AS UINTEGER)"
"""SQL for a key's bucket; see `storage.workspace.schema.HISTORY`."""

_ARROW_TYPES = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
}


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
        """The identity of the last flush in the file, see `flush_id`; None before the first."""
        self.isolation: str | None = None
        """How the worker was sandboxed."""
        self._redact = redact
        self._workspace = workspace
        self._projection_number = projection_number
        self._timeline = workspace.timeline
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
        rows = connection.execute(
            "SELECT first, folded, keys, changes, parts, failures, skipped, unhandled, seconds, calls,"
            " numbers FROM folds"
            " WHERE projection = ? AND timeline = ?",
            [self._projection_number, self._timeline],
        ).fetchall()
        for row in rows:
            (
                self.first_offset,
                self.next_offset,
                self.document_count,
                self.change_count,
                self.part_change_count,
                self.failure_count,
            ) = row[:6]
            self.skipped_events, self.unhandled_by_type = row[6], Counter(json.loads(row[7]))
            self._seconds, self.call_count = row[8:10]
            self._number_columns = NumberColumns(row[10])
            self.flushed_until = self.next_offset
        self._flushed = flush_id(connection, self._fold_parameters)

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
            if flush_id(connection, self._fold_parameters) != self._flushed:
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
            self._write_documents(connection)
            self._write_fold_record(connection)
            flushed = flush_id(connection, self._fold_parameters)
        self._flushed = flushed
        self._history, self._parts, self._routes = [], [], []
        self._failures, self._invariant_transitions, self._printed, self._upcasts = [], [], [], []
        self._calls, self._call_decisions, self._reads = [], [], []
        self.pending_rows = self._pending_bytes = 0
        self.flushed_until = self.next_offset

    @property
    def _fold_parameters(self) -> list[Any]:
        return [self._projection_number, self._timeline]

    def _begin_flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        if flush_id(connection, self._fold_parameters) != self._flushed:
            raise ConcurrentFoldError

    def _write_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        names = self._fold_parameters
        if self._history:
            _insert_table(
                connection,
                "INSERT INTO history BY NAME SELECT ? AS projection, ? AS timeline,"
                f" {BUCKET_SQL} AS bucket, * FROM rows ORDER BY bucket, change",
                names,
                self._number_columns.append_to(connection, pa.concat_tables(self._history)),
            )
        if self._parts:
            _insert_table(
                connection,
                f'INSERT INTO parts SELECT ?, ?, {BUCKET_SQL} AS bucket, key, "offset", change,'
                " part, place, state FROM rows",
                names,
                pa.concat_tables(self._parts),
            )
        if self._routes:
            _insert_table(
                connection,
                'INSERT INTO routes SELECT ?, ?, "offset", key FROM rows',
                names,
                pa.concat_tables(self._routes),
            )
        _insert_reports(connection, schema.FAILURES, names, self._failures)
        _insert_reports(connection, schema.TURNS, names, self._invariant_transitions)
        _insert_reports(connection, schema.PRINTED, names, self._printed)
        _insert_reports(connection, schema.UPCASTS, names, self._upcasts)
        _insert_reports(connection, schema.DECISIONS, names, self._call_decisions)
        _insert_reports(connection, schema.READS, names, self._reads)
        if self._calls:
            _insert_table(
                connection,
                'INSERT INTO decisions BY NAME SELECT ? AS projection, ? AS timeline, "offset", key,'
                " ordinal, call, decision FROM rows",
                names,
                pa.concat_tables(self._calls),
            )

    def _write_documents(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._new_documents:
            self._insert_documents(connection, pa.concat_tables(self._new_documents))
        self._new_documents = []

    def _insert_documents(
        self, connection: duckdb.DuckDBPyConnection, new_documents: pa.Table
    ) -> None:
        """Insert documents; `new_documents` has the columns `ordinal`, `key` and `born`."""
        query = "INSERT INTO documents SELECT ?, ?, ordinal, key, born FROM rows"
        _insert_table(connection, query, self._fold_parameters, new_documents)

    def _write_fold_record(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            "DELETE FROM folds WHERE projection = ? AND timeline = ?", self._fold_parameters
        )
        connection.execute(
            "INSERT INTO folds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *self._fold_parameters,
                self.first_offset,
                self.next_offset,
                self.skipped_events,
                json.dumps(self.unhandled_by_type),
            ]
            + [
                self.failure_count,
                self.document_count,
                self.change_count,
                self.part_change_count,
                self.round_trips_json,
                self.call_count,
            ]
            + [
                self._recordings_version,
                self.isolation,
                self._number_columns.pointers_json,
                self._seconds,
                self._workspace.timeline_digest,
            ],
        )


def flush_id(connection: duckdb.DuckDBPyConnection, names: list[Any]) -> tuple[Any, ...] | None:
    """Return the identity of the last flush of a fold; None before the first.

    It includes the seconds spent: two processes take different times, so a fold that another process
    restarted is noticed even if it has as many changes.
    """
    rows = connection.execute(
        "SELECT folded, changes, digest, seconds FROM folds WHERE projection = ? AND timeline = ?",
        names,
    ).fetchall()
    return tuple(rows[0]) if rows else None


def _insert_table(
    connection: duckdb.DuckDBPyConnection, query: str, names: list[Any], rows: pa.Table
) -> None:
    connection.register("rows", rows)
    connection.execute(query, names)
    connection.unregister("rows")


def _insert_reports(
    connection: duckdb.DuckDBPyConnection,
    table: schema.TableSchema,
    names: list[Any],
    reports: list[Mapping[str, Any]],
) -> None:
    """Insert the rare rows, such as failures, that a worker reports one by one."""
    if reports:
        fields = [(name, _ARROW_TYPES[kind]) for name, kind in table.columns[len(names) :]]
        rows = pa.table({name: pa.array([t[name] for t in reports], kind) for name, kind in fields})
        columns = ", ".join(f'"{name}"' for name, _ in fields)
        _insert_table(
            connection, f"INSERT INTO {table.name} SELECT ?, ?, {columns} FROM rows", names, rows
        )
