"""A scan of every state in the order of the log, each with the state that its document had before.

The history table is stored flush by flush in the order of the fold, and within a flush by document.
One read in storage order therefore yields the log in stretches: a stretch ends as soon as all changes
up to the highest change number seen so far have arrived. DuckDB extracts whole numbers from the
states in its own threads while this module processes the batches before. The value in the state
before is looked up by its change number, so every value of every change stays in memory: eight bytes
for a sum, one byte for a condition.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query import part_projection
from replay.query.compiled_expression import CompiledExpression
from replay.query.number_columns import NumberColumns
from replay.query.scan_types import Extraction, NumberArray, ScanChunk
from storage.errors import WorkspaceError
from storage.ingest.io.prefetch import prefetch_items

_FIRST_CHUNK_EVENTS = 20_000
"""Events of the first stretch; each further stretch has at least four times as many changes."""
_MAX_CHUNK_CHANGES = 1_000_000
_BATCHES_AHEAD = 4
"""DuckDB batches, one row group each, that are prefetched."""


def scan_log_history(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    expression: CompiledExpression,
    extractions: Sequence[Extraction],
    dtype: type[np.generic],
    *,
    early_first_chunk: bool = True,
) -> Generator[ScanChunk, None, None]:
    """Yield every change of a history that has no parent; see `replay.query.scan.scan_history`."""
    states = _states_sql(history, expression)
    columns = "".join(
        f", CASE WHEN gone THEN 0 ELSE {one.sql} END AS a{n}" for n, one in enumerate(extractions)
    )
    query = (
        f'SELECT change, "offset", coalesce(previous, -1) AS previous{columns} FROM ({states}'
        f' WHERE {history.scope.condition} AND "offset" >= ? AND "offset" < ?)'
    )

    def batches() -> Iterator[pa.RecordBatch]:
        # A row group takes too long for a first answer, so the first stretch is read separately.
        first = _FIRST_CHUNK_EVENTS if early_first_chunk else 0
        for offset_range in ((0, first), (first, history.fold_record.next_offset)):
            yield from cursor.sql(query, params=list(offset_range)).to_arrow_reader(
                _MAX_CHUNK_CHANGES
            )

    with (
        closing(connection.cursor()) as cursor,
        closing(prefetch_items(batches(), _BATCHES_AHEAD)) as rows,
    ):
        yield from _HistoryScan(history, extractions, dtype).iterate_chunks(rows)


def _states_sql(history: History, expression: CompiledExpression) -> str:
    """Return SQL for every change with the columns of an expression; `gone`: the document is deleted."""
    fold_record = history.fold_record
    if not history.has_long_numbers and not history.has_parts:
        number_columns = NumberColumns(fold_record.number_columns).columns
        values = expression.columns_sql_from_numbers(number_columns)
        if number_columns and values is not None:
            gone = f"coalesce(isnan({next(iter(number_columns.values()))}), false)"
            return f'SELECT "offset", key, change, previous, {gone} AS gone{values} FROM history'
    states = part_projection.states_with_parts_sql(history, [expression])
    return (
        'SELECT "offset", key, change, previous, state IS NULL AS gone'
        f"{expression.columns_sql} FROM {states}"
    )


class _HistoryScan:
    """The changes received so far, each stored at the index of its change number."""

    def __init__(
        self, history: History, extractions: Sequence[Extraction], dtype: type[np.generic]
    ) -> None:
        self._history = history
        self._change_count = history.fold_record.change_count
        # The last column stays 0: index -1 stands for "no state before".
        self._values = np.zeros((len(extractions), self._change_count + 1), dtype)
        self._converters = [one.to_whole_numbers for one in extractions]
        self._pending = np.zeros((2, 2 * _MAX_CHUNK_CHANGES), np.int64)
        """Offsets and previous change numbers of the changes from `_emitted_until` on."""
        self._emitted_until = 0
        self._received_count = 0
        self._highest_change = -1

    def iterate_chunks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[ScanChunk]:
        """Yield each stretch as soon as it is complete and long enough."""
        smallest_chunk, whole_events = 1, not self._history.is_routed
        for batch in filter(len, batches):
            end = self._add_batch(*(column.to_numpy() for column in batch.columns))
            if not whole_events and end > self._emitted_until:
                # Some changes of the last event may not have arrived yet.
                end = self._start_of_last_event(end)
            if end - self._emitted_until >= smallest_chunk:
                yield self._build_chunk(end)
                smallest_chunk = min(
                    4 * max(self._emitted_until, _FIRST_CHUNK_EVENTS), _MAX_CHUNK_CHANGES
                )
        if (
            self._received_count != self._change_count
            or self._highest_change + 1 != self._change_count
        ):
            raise self._damaged_file_error()
        if self._emitted_until < self._change_count:
            yield self._build_chunk(self._change_count)

    def _add_batch(
        self, change: NumberArray, offset: NumberArray, previous: NumberArray, *now: NumberArray
    ) -> int:
        """Store a batch by change number and return the number below which all changes are complete.

        Raises `WorkspaceError` if change numbers are out of range or don't refer backwards.
        """
        is_in_range = change.min() >= self._emitted_until and change.max() < self._change_count
        if not (is_in_range and previous.min() >= -1 and (previous < change).all()):
            raise self._damaged_file_error()
        # Assigning row by row is three times as fast as one assignment for all rows.
        for row, value, whole in zip(self._values, now, self._converters, strict=True):
            row[change] = whole(value)
        end = self._find_complete_end(change)
        self._grow_pending()
        indexes = change - self._emitted_until
        for row, number in zip(self._pending, (offset, previous), strict=True):
            row[indexes] = number
        return end

    def _find_complete_end(self, change: NumberArray) -> int:
        """Count a batch in and return the number below which all changes have arrived."""
        missing = self._highest_change + 1 - self._received_count
        self._received_count += len(change)
        if missing > len(change):
            self._highest_change = max(self._highest_change, int(change.max()))
            return self._emitted_until
        first = max(missing - 1, 0)  # earlier rows of this batch can't complete the range
        highest = np.maximum.accumulate(change)[first:]
        np.maximum(highest, self._highest_change, out=highest)
        self._highest_change = int(highest[-1])
        counted = np.arange(self._received_count - len(highest), self._received_count)
        ends = counted[highest == counted]
        return int(ends[-1]) + 1 if len(ends) else self._emitted_until

    def _grow_pending(self) -> None:
        needed = self._highest_change + 1 - self._emitted_until
        if needed > self._pending.shape[1]:
            wider = np.zeros((2, 2 * needed), np.int64)
            wider[:, : self._pending.shape[1]] = self._pending
            self._pending = wider

    def _start_of_last_event(self, end: int) -> int:
        """Return the first change number of the event that made the last change before `end`."""
        offsets = self._pending[0, : end - self._emitted_until]
        return self._emitted_until + int(np.searchsorted(offsets, offsets[-1]))

    def _build_chunk(self, end: int) -> ScanChunk:
        first, count = self._emitted_until, end - self._emitted_until
        offsets, previous = self._pending[:, :count].copy()
        rest = self._highest_change + 1 - end
        self._pending[:, :rest] = self._pending[:, count : count + rest].copy()
        self._emitted_until = end
        ended = end == self._change_count
        until = self._history.fold_record.next_offset - 1 if ended else int(offsets[-1])
        before = self._values.take(previous, axis=1)
        changes = np.arange(first, end)
        return ScanChunk(until, changes, offsets, self._values[:, first:end], before)

    def _damaged_file_error(self) -> WorkspaceError:
        """Return the error for change numbers that refold did not write.

        refold numbers changes from 0 in the order of the log, and `previous` refers backwards.
        """
        return WorkspaceError(
            f"{self._history.workspace.path} is damaged: the changes of {self._history.fold_record.name}"
            " aren't numbered in the order of the log. Fold it again with refold replay --force."
        )
