"""A scan of every state of a fork: its own changes merged into the stretches of its parent's scan.

Changes that the fork replaces are left out of the parent's stretches. The fork's own changes, each
with the document's state before it, are read separately and inserted at their offsets.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, Protocol

import duckdb
import numpy as np

from replay.history.forked_history import ForkedHistory
from replay.history.history import History
from replay.query import part_projection
from replay.query.compiled_expression import CompiledExpression
from replay.query.scan_types import Extraction, NumberArray, ScanChunk
from storage.db.query import fetch_arrow


class ScanHistory(Protocol):
    """A function that scans a history of any timeline."""

    def __call__(
        self,
        connection: duckdb.DuckDBPyConnection,
        history: History,
        expression: CompiledExpression,
        extractions: Sequence[Extraction],
        dtype: type[np.generic],
    ) -> Generator[ScanChunk, None, None]: ...


def scan_fork_history(
    connection: duckdb.DuckDBPyConnection,
    forked_history: ForkedHistory,
    expression: CompiledExpression,
    extractions: Sequence[Extraction],
    dtype: type[np.generic],
    *,
    scan_parent: ScanHistory,
) -> Generator[ScanChunk, None, None]:
    """Yield every change of a fork's history; see `replay.query.scan.scan_history`.

    `scan_parent` scans the parent timeline's history; the parent may be a fork too.
    """
    own = _load_own_changes(connection, forked_history, expression, extractions, dtype)
    replaced_changes = _load_replaced_changes(forked_history)
    overlay = forked_history.workspace.position_map
    anchors = np.array(overlay.insert_anchors, np.int64)
    last = forked_history.history.fold_record.next_offset - 1
    emitted_until = 0
    parent_since = forked_history.parent_since_position
    with (
        forked_history.parent.workspace.reading() as parent_connection,
        closing(
            scan_parent(parent_connection, forked_history.parent, expression, extractions, dtype)
        ) as stretches,
    ):
        for stretch in stretches:
            is_shared = ~np.isin(stretch.change_numbers, replaced_changes)
            if forked_history.affects_all_documents:
                is_shared &= stretch.offsets < parent_since
            offsets = stretch.offsets + np.searchsorted(anchors, stretch.offsets)
            until = min(overlay.from_parent(stretch.last_offset), last)
            end = int(np.searchsorted(own.offsets, until, side="right"))
            yield _merge_chunk(stretch, is_shared, offsets, own, emitted_until, end, until)
            emitted_until = end
            if forked_history.affects_all_documents and stretch.last_offset >= parent_since:
                break
    if emitted_until < len(own.offsets) or emitted_until == 0:
        yield own.slice_chunk(emitted_until, len(own.offsets), last)


class _OwnChanges:
    """The fork's own changes, in the order of the log."""

    def __init__(
        self,
        change_numbers: NumberArray,
        offsets: NumberArray,
        values: NumberArray,
        previous_values: NumberArray,
    ) -> None:
        self.change_numbers = change_numbers
        self.offsets = offsets
        self.values = values
        self.previous_values = previous_values

    def slice_chunk(self, first: int, end: int, last_offset: int) -> ScanChunk:
        return ScanChunk(
            last_offset,
            self.change_numbers[first:end],
            self.offsets[first:end],
            self.values[:, first:end],
            self.previous_values[:, first:end],
        )


def _load_own_changes(
    connection: duckdb.DuckDBPyConnection,
    forked_history: ForkedHistory,
    expression: CompiledExpression,
    extractions: Sequence[Extraction],
    dtype: type[np.generic],
) -> _OwnChanges:
    history = forked_history.history
    states = part_projection.states_with_parts_sql(history, [expression])
    names = [f"a{n}" for n in range(len(extractions))]
    made = "".join(
        f", CASE WHEN state IS NULL THEN 0 ELSE {one.sql} END AS {name}"
        for name, one in zip(names, extractions, strict=True)
    )
    earlier = "".join(
        f", lag({name}, 1, 0) OVER (PARTITION BY bucket, key ORDER BY change) AS b{name}"
        for name in names
    )
    touched = (
        ""
        if forked_history.affects_all_documents
        else f" AND key IN ({forked_history.affected_keys_sql})"
    )
    query = (
        f'SELECT * FROM (SELECT change, "offset"{"".join(f", {n}" for n in names)}{earlier}'
        f' FROM (SELECT change, "offset", bucket, key{made}'
        f' FROM (SELECT bucket, "offset", key, change, state{expression.columns_sql} FROM {states}'
        f" WHERE {history.scope.condition}{touched})))"
        f' WHERE "offset" >= {int(forked_history.since_position)} ORDER BY "offset", change'
    )
    table = fetch_arrow(connection, query)
    columns: list[Any] = [table[name].to_numpy() for name in table.column_names]
    count = len(names)
    wholes = [one.to_whole_numbers for one in extractions] * 2
    rows = [whole(column).astype(dtype) for whole, column in zip(wholes, columns[2:], strict=True)]
    shape = (count, table.num_rows)
    now = np.array(rows[:count], dtype).reshape(shape)
    before = np.array(rows[count:], dtype).reshape(shape)
    return _OwnChanges(columns[0], columns[1], now, before)


def _load_replaced_changes(forked_history: ForkedHistory) -> NumberArray:
    """Return the numbers of the parent's changes that the fork replaces."""
    if forked_history.affects_all_documents:
        return np.empty(0, np.int64)
    table = forked_history.parent.history_rows.read_change_numbers(
        forked_history.parent_since_position, forked_history.affected_keys_sql
    )
    numbers: NumberArray = table["change"].to_numpy()
    return numbers


def _merge_chunk(
    parent_chunk: ScanChunk,
    is_shared: NumberArray,
    offsets: NumberArray,
    own_changes: _OwnChanges,
    first: int,
    end: int,
    last_offset: int,
) -> ScanChunk:
    both = np.concatenate([offsets[is_shared], own_changes.offsets[first:end]])
    order = np.argsort(both, kind="stable")
    return ScanChunk(
        last_offset,
        np.concatenate(
            [parent_chunk.change_numbers[is_shared], own_changes.change_numbers[first:end]]
        )[order],
        both[order],
        np.concatenate(
            [parent_chunk.values[:, is_shared], own_changes.values[:, first:end]], axis=1
        )[:, order],
        np.concatenate(
            [parent_chunk.previous_values[:, is_shared], own_changes.previous_values[:, first:end]],
            axis=1,
        )[:, order],
    )
