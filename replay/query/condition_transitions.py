"""Where a condition on documents turned: true of a state, but not of the document's state before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query.scan import scan_history
from replay.query.scan_types import Extraction, ScanChunk
from replay.query.sql_compiler import CompiledExpression
from storage.db.query import fetch_arrow
from storage.query.condition_parser import translate_condition_error

if TYPE_CHECKING:
    from replay.query.scan_types import NumberArray


@dataclass(frozen=True)
class ConditionTransitions:
    """What one stretch of the log brought."""

    last_offset: int
    """Its last offset; everything up to there has been looked at."""
    mismatched_states: int
    """States in it that hold a value of another kind than it is compared as."""
    transitions: pa.Table
    """`offset`, `key`, and `holds`: whether it became true or stopped being so."""


def scan_condition_transitions(
    history: History, expression: CompiledExpression, *, target: bool | None
) -> Iterator[ConditionTransitions]:
    """Turns in the order of the log; only those to `to`, where it isn't None.

    A document that isn't there counts as false. Raises `QueryError` where it can't be answered.
    """
    condition_bits = (
        f"CAST({expression.sql} AS UTINYINT) + CAST(2 * CAST({expression.type_mismatch_sql} AS UTINYINT)"
        " AS UTINYINT)"
    )
    with history.workspace.reading() as connection:
        try:
            for chunk in scan_history(
                connection, history, expression, [Extraction(condition_bits)], np.uint8
            ):
                holds, held = chunk.values[0] & 1 == 1, chunk.previous_values[0] & 1 == 1
                has_changed = (
                    holds != held if target is None else (holds != held) & (holds == target)
                )
                others = int(np.count_nonzero(chunk.values[0] & 2))
                rows = _add_keys(connection, history, chunk, np.flatnonzero(has_changed), holds)
                yield ConditionTransitions(chunk.last_offset, others, rows)
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            # It may overflow, or call a function in a way that it can't be called.
            raise translate_condition_error(expression.text, "states", error) from error


def _add_keys(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    chunk: ScanChunk,
    indexes: "NumberArray",
    holds: "NumberArray",
) -> pa.Table:
    """Changes at these places of a stretch, with their documents' keys, which few of them need."""
    turned = pa.table({"change": chunk.change_numbers[indexes], "holds": holds[indexes]})
    offsets = chunk.offsets[indexes]
    first, last = (offsets.min(), offsets.max()) if len(offsets) else (0, -1)
    connection.register("turned", turned)
    try:
        return fetch_arrow(
            connection,
            'SELECT "offset", key, holds FROM history JOIN turned USING (change)'
            ' WHERE projection = ? AND timeline = ? AND "offset" BETWEEN ? AND ?'
            ' ORDER BY "offset", key',
            [
                history.fold_record.projection_number,
                history.fold_record.timeline,
                int(first),
                int(last),
            ],
        )
    finally:
        connection.unregister("turned")
