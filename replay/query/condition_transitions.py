"""Transitions of a condition on documents: it holds for a state, but not for the document's state
before, or the reverse."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query.expressions import Expression, compile_condition
from replay.query.scan import scan_history
from replay.query.scan_types import Extraction, ScanChunk
from storage.query.condition_parser import translate_condition_error

if TYPE_CHECKING:
    from replay.query.scan_types import NumberArray


@dataclass(frozen=True)
class ConditionTransitions:
    """The transitions of one stretch of the log."""

    last_offset: int
    """The stretch's last offset; everything up to it has been searched."""
    mismatched_states: int
    """States of the stretch in which a value has another type than the condition compares it as."""
    transitions: pa.Table
    """`offset`, `key`, and `holds`: true if the condition became true, false if it became false."""


def scan_condition_transitions(
    history: History, condition: Expression, *, target: bool | None
) -> Iterator[ConditionTransitions]:
    """Yield the transitions in the order of the log; with `target`, only those to that value.

    A document that doesn't exist counts as false. Raises `QueryError` if the condition can't be
    evaluated.
    """
    with history.workspace.reading() as connection:
        expression = compile_condition(connection, condition, long_numbers=history.has_long_numbers)
        condition_bits = (
            f"CAST({expression.sql} AS UTINYINT)"
            f" + CAST(2 * CAST({expression.type_mismatch_sql} AS UTINYINT) AS UTINYINT)"
        )
        try:
            for chunk in scan_history(
                connection, history, expression, [Extraction(condition_bits)], np.uint8
            ):
                holds, held = chunk.values[0] & 1 == 1, chunk.previous_values[0] & 1 == 1
                has_changed = (
                    holds != held if target is None else (holds != held) & (holds == target)
                )
                mismatched_states = int(np.count_nonzero(chunk.values[0] & 2))
                rows = _add_keys(history, chunk, np.flatnonzero(has_changed), holds)
                yield ConditionTransitions(chunk.last_offset, mismatched_states, rows)
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            # The condition may overflow, or call a function with arguments that it doesn't take.
            raise translate_condition_error(expression.text, "states", error) from error


def _add_keys(
    history: History,
    chunk: ScanChunk,
    indexes: "NumberArray",
    holds: "NumberArray",
) -> pa.Table:
    """Return the changes at these indexes of a stretch, with the keys of their documents.

    Keys are looked up only here, because few changes are transitions.
    """
    turned = pa.table({"change": chunk.change_numbers[indexes], "holds": holds[indexes]})
    offsets = chunk.offsets[indexes]
    first, last = (offsets.min(), offsets.max()) if len(offsets) else (0, -1)
    return history.history_rows.read_keys_of_changes(turned, int(first), int(last))
