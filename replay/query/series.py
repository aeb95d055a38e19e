"""Series: a value over time, of one document or of all documents, summarized by stretches of the log.

Every state counts: a stretch keeps its lowest and highest value, so a chart with few columns still
shows every spike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from replay.history.history import History
from replay.query import aggregates, expressions, part_projection, running_aggregates
from replay.query.expressions import Expression, ParsedExpression, parse_expression
from storage.errors import QueryError
from storage.folds.key_bucket import compute_bucket
from storage.query.condition_parser import translate_condition_error


@dataclass(frozen=True)
class Series:
    """How a value develops over the log: one entry per stretch of events, NaN if it has no value."""

    name: str
    """The expression as the user typed it."""
    low: "np.ndarray[Any, np.dtype[np.float64]]"
    high: "np.ndarray[Any, np.dtype[np.float64]]"
    last: "np.ndarray[Any, np.dtype[np.float64]]"
    """The value at the end of each stretch."""
    key: str | None = None
    """The document; None: all documents together."""

    @property
    def is_empty(self) -> bool:
        """Whether the value never was a number."""
        return bool(np.isnan(self.high).all())


def compute_series(
    history: History, expression: Expression, ends: Sequence[int], key: str | None = None
) -> Series:
    """Return the values of an expression over stretches of the log, given by their last offsets.

    An expression over `state`, such as `state.total`, reads the document `key`. One with sum, avg or
    count, such as `sum(state.total)`, reads all documents. Scans the history. Raises `QueryError` if
    the expression is invalid, or if it needs a key and `key` is None.
    """
    with history.workspace.reading() as connection:
        parsed = parse_expression(connection, expression)
        if parsed.uses_aggregates:
            key, samples = None, _sample_all_documents(connection, history, parsed, ends)
        elif key is None:
            raise QueryError(
                f"{parsed.text!r} is a value of one document. Select a document, or use sum, avg or"
                " count."
            )
        else:
            samples = _sample_document(connection, history, parsed, key, ends)
    return replace(samples.to_series(parsed.text), key=key)


def _sample_all_documents(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    parsed: ParsedExpression,
    ends: Sequence[int],
) -> "_StretchSamples":
    aggregate = aggregates.compile_aggregate_value(
        connection, parsed, long_numbers=history.has_long_numbers
    )

    samples = _StretchSamples(ends)
    for stretch in running_aggregates.scan_aggregate_values(
        connection, history, aggregate, early_first_chunk=False
    ):
        samples.add_points(stretch.offsets, stretch.values)
    return samples


def _sample_document(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    parsed: ParsedExpression,
    key: str,
    ends: Sequence[int],
) -> "_StretchSamples":
    expression = expressions.compile_value(connection, parsed, long_numbers=False)
    states = part_projection.states_with_parts_sql(history, [expression])
    number = f"TRY_CAST(trim({expression.sql}, '\"') AS DOUBLE)"  # Decimals are text in JSON
    points = (
        f'SELECT "offset", CASE WHEN state IS NOT NULL THEN {number} END AS v FROM'
        f' (SELECT "offset", key, state{expression.columns_sql} FROM {states}'
        f" WHERE {history.scope.condition} AND bucket = {compute_bucket(key)} AND key = $key)"
    )
    try:
        return _StretchSamples(ends).add_relation(connection.sql(points, params={"key": key}))
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise translate_condition_error(parsed.text, "states", error) from error


class _StretchSamples:
    """The lowest, highest and last point of each stretch; points may come in any order."""

    def __init__(self, ends: Sequence[int]) -> None:
        # A stretch without events has the same end as the one before, which gets the events.
        self._ends = np.maximum.accumulate(np.asarray(ends, dtype=np.int64))
        self.low, self.high, self.last = (np.full(len(ends), math.nan) for _ in range(3))
        self._last_offsets = np.full(len(ends), -1, dtype=np.int64)

    def add_relation(self, points: duckdb.DuckDBPyRelation) -> "_StretchSamples":
        """Add rows of `offset` and `v`, one batch at a time."""
        for batch in points.to_arrow_reader(1_000_000):
            self.add_points(batch["offset"].to_numpy(), batch["v"].to_numpy(zero_copy_only=False))
        return self

    def add_points(self, offsets: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]") -> None:
        stretches = np.minimum(np.searchsorted(self._ends, offsets), len(self._ends) - 1)
        np.fmin.at(self.low, stretches, values)
        np.fmax.at(self.high, stretches, values)
        np.maximum.at(self._last_offsets, stretches, offsets)
        final = offsets == self._last_offsets[stretches]
        self.last[stretches[final]] = values[final]

    def to_series(self, text: str) -> Series:
        """Return the series. A stretch begins with the last value of the stretch before it."""
        value = math.nan
        for stretch in range(len(self._ends)):
            self.low[stretch] = np.fmin(self.low[stretch], value)
            self.high[stretch] = np.fmax(self.high[stretch], value)
            changed = self._last_offsets[stretch] >= 0
            value = self.last[stretch] = self.last[stretch] if changed else value
        return Series(text, self.low, self.high, self.last)
