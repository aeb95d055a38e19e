"""Aggregates over all documents after every event, updated along the log.

Each change of a document adds the difference between its new and its old value to a sum. Sums are
whole numbers of a smallest unit, so they are exact however long the log is. A document that doesn't
exist adds nothing, nor does one whose value is not a number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query import aggregates
from replay.query.aggregates import CompiledAggregate
from replay.query.expressions import Expression
from replay.query.scan import scan_history
from replay.query.scan_types import Extraction, NumberArray
from replay.query.sum_encoding import (
    FullPrecisionEncoding,
    MillionthsEncoding,
    SumEncoding,
    SumOverflowError,
)
from storage.db.query import fetch_arrow
from storage.query.condition_parser import translate_condition_error


@dataclass(frozen=True)
class AggregateValues:
    """The values of an expression in one stretch of the log, after each event that changed a sum."""

    last_offset: int
    """The stretch's last offset."""
    offsets: NumberArray
    values: NumberArray


@dataclass(frozen=True)
class AggregateTransitions:
    """The transitions of a condition in one stretch of the log."""

    last_offset: int
    """The stretch's last offset."""
    transitions: Sequence[tuple[int, bool]]
    """Offsets of events; true if the condition became true there, false if it became false."""


def scan_aggregate_transitions(
    history: History, condition: Expression
) -> Iterator[AggregateTransitions]:
    """Yield the transitions of a condition over aggregates, one stretch of the log at a time.

    Scans the history. The condition counts as false before the first event. Raises `QueryError` if it
    is not a condition over aggregates, or if it can't be evaluated.
    """
    held = False
    with history.workspace.reading() as connection:
        aggregate = aggregates.compile_aggregate_condition(
            connection, condition, long_numbers=history.has_long_numbers
        )
        for chunk in scan_aggregate_values(connection, history, aggregate):
            holds = chunk.values
            indexes = np.flatnonzero(np.diff(holds, prepend=held))
            offsets = chunk.offsets[indexes].tolist()
            yield AggregateTransitions(
                chunk.last_offset, list(zip(offsets, holds[indexes].tolist(), strict=True))
            )
            held = bool(holds[-1]) if len(holds) else held


def scan_aggregate_values(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    aggregate: CompiledAggregate,
    *,
    early_first_chunk: bool = True,
) -> Iterator[AggregateValues]:
    """Yield the values of an expression after every event, one stretch of the log at a time.

    Scans the history. `early_first_chunk` makes the first stretch short, for a caller who waits for a
    first answer. Raises `QueryError` if the expression can't be evaluated.
    """
    done = -1
    if not history.has_long_numbers:
        try:
            for chunk in _scan_with_encoding(
                connection,
                history,
                aggregate,
                MillionthsEncoding(),
                early_first_chunk=early_first_chunk,
            ):
                yield chunk
                done = chunk.last_offset
        except (duckdb.DataError, duckdb.ProgrammingError, SumOverflowError):
            pass  # a number needs more digits: start again in full precision
        else:
            return
    try:
        for chunk in _scan_with_encoding(
            connection,
            history,
            aggregate,
            FullPrecisionEncoding(),
            early_first_chunk=early_first_chunk,
        ):
            if chunk.last_offset > done:
                new = chunk.offsets > done
                yield AggregateValues(chunk.last_offset, chunk.offsets[new], chunk.values[new])
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise translate_condition_error(aggregate.text, "all documents", error) from error


def _scan_with_encoding(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    aggregate: CompiledAggregate,
    sum_encoding: SumEncoding,
    *,
    early_first_chunk: bool,
) -> Iterator[AggregateValues]:
    columns: list[Extraction] = []
    sum_columns = []
    for n, (part, double) in enumerate(aggregate.summands.items()):
        extractions = sum_encoding.extractions(part, double) if double else [Extraction(part)]
        names = [f"s{len(columns) + i}" for i in range(len(extractions))]
        sum_columns.append(f"{sum_encoding.join_sql(names) if double else names[0]} AS r{n}")
        columns += extractions
    query = f'SELECT {aggregate.result_sql} AS v FROM (SELECT "offset", {", ".join(sum_columns)} FROM running)'
    carried = np.zeros((len(columns), 1), np.int64)
    begun = False
    for chunk in scan_history(
        connection,
        history,
        aggregate.row_expression,
        columns,
        np.int64,
        early_first_chunk=early_first_chunk,
    ):
        offsets, steps = chunk.offsets, chunk.values - chunk.previous_values
        if history.is_routed:
            # An event may change several documents; a value counts only after all of them.
            events = np.flatnonzero(np.diff(offsets, prepend=-1))
            sum_encoding.raise_if_overflowing(carried + np.cumsum(steps, axis=1))
            offsets, steps = offsets[events], np.add.reduceat(steps, events, axis=1)
        # Most events change no sum and are left out; the first is kept in any case.
        counts: NumberArray = steps[0] != 0
        for further in steps[1:]:
            counts |= further != 0
        counts[:1] |= not begun
        begun = begun or len(counts) > 0
        offsets, sums = offsets[counts], carried + np.cumsum(steps[:, counts], axis=1)
        sum_encoding.raise_if_overflowing(sums)
        carried = sums[:, -1:] if len(offsets) else carried
        columns_of = {f"s{n}": column for n, column in enumerate(sums)}
        connection.register("running", pa.table({"offset": offsets, **columns_of}))
        found = fetch_arrow(connection, query)["v"].to_numpy()
        connection.unregister("running")
        yield AggregateValues(chunk.last_offset, offsets, found)
