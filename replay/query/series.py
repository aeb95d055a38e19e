"""Values over time: numbers of a document, or of all of them together, cut into stretches of the log.

Every state counts: a stretch keeps its lowest and highest value, so that no spike is lost however
few columns there are to draw in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from replay.history.history import History, bucket
from replay.query import aggregates, expressions, part_projection, running_aggregates
from storage.errors import QueryError
from storage.query.condition_parser import unanswerable


@dataclass(frozen=True)
class Series:
    """One value over stretches of the log; NaN where there was none."""

    name: str
    """The expression, as it was typed."""
    low: "np.ndarray[Any, np.dtype[np.float64]]"
    high: "np.ndarray[Any, np.dtype[np.float64]]"
    last: "np.ndarray[Any, np.dtype[np.float64]]"
    """The value at the stretch's end."""
    key: str | None = None
    """The document that it is of; None: all of them."""

    @property
    def empty(self) -> bool:
        """There never was a number."""
        return bool(np.isnan(self.high).all())


def series(history: History, text: str, ends: Sequence[int], key: str | None = None) -> Series:
    """The values of an expression over stretches of the log, given by their last offsets.

    One over `state` is of the document `key`: `state.total`; one with sum, avg or count is of all
    documents: `sum(state.total)`. Scans. Raises `QueryError`.
    """
    with history.workspace.reading() as connection:
        if aggregates.is_aggregated(connection, text):
            key, cut = None, _of_all(connection, history, text, ends)
        elif key is None:
            raise QueryError(
                f"{text!r} is a value of one document: select one, or ask for sum, avg or count."
            )
        else:
            cut = _of_document(connection, history, text, key, ends)
    return replace(cut.filled(text), key=key)


def _of_all(
    connection: duckdb.DuckDBPyConnection, history: History, text: str, ends: Sequence[int]
) -> "_Cut":
    wanted = aggregates.value(connection, text, long_numbers=history.long_numbers)

    cut = _Cut(ends)
    for stretch in running_aggregates.values(connection, history, wanted, soon=False):
        cut.take(stretch.offsets, stretch.values)
    return cut


def _of_document(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    text: str,
    key: str,
    ends: Sequence[int],
) -> "_Cut":
    wanted = expressions.value(connection, text, long_numbers=False)
    states = part_projection.states(connection, history, [wanted])
    number = f"TRY_CAST(trim({wanted.sql}, '\"') AS DOUBLE)"  # Decimals are text in JSON
    points = (
        f'SELECT "offset", CASE WHEN state IS NOT NULL THEN {number} END AS v FROM'
        f' (SELECT "offset", key, state{wanted.values} FROM {states}'
        " WHERE projection = ? AND timeline = ? AND bucket = ? AND key = ?)"
    )
    names = [history.folded.number, history.folded.timeline, bucket(key), key]
    try:
        return _Cut(ends).taking(connection.sql(points, params=names))
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise unanswerable(text, "states", error) from error


class _Cut:
    """The lowest, highest and last point of each stretch; points may come in any order."""

    def __init__(self, ends: Sequence[int]) -> None:
        # Stretches without events end where the one before does; the first of them has the events.
        self._ends = np.maximum.accumulate(np.asarray(ends, dtype=np.int64))
        self.low, self.high, self.last = (np.full(len(ends), math.nan) for _ in range(3))
        self._at = np.full(len(ends), -1, dtype=np.int64)

    def taking(self, points: duckdb.DuckDBPyRelation) -> "_Cut":
        """Take rows of `offset` and `v`, a batch at a time."""
        for batch in points.to_arrow_reader(1_000_000):
            self.take(batch["offset"].to_numpy(), batch["v"].to_numpy(zero_copy_only=False))
        return self

    def take(self, offsets: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]") -> None:
        """Take points."""
        stretches = np.minimum(np.searchsorted(self._ends, offsets), len(self._ends) - 1)
        np.fmin.at(self.low, stretches, values)
        np.fmax.at(self.high, stretches, values)
        np.maximum.at(self._at, stretches, offsets)
        final = offsets == self._at[stretches]
        self.last[stretches[final]] = values[final]

    def filled(self, text: str) -> Series:
        """A stretch begins with the value of the one before, and one without changes keeps it."""
        value = math.nan
        for stretch in range(len(self._ends)):
            self.low[stretch] = np.fmin(self.low[stretch], value)
            self.high[stretch] = np.fmax(self.high[stretch], value)
            changed = self._at[stretch] >= 0
            value = self.last[stretch] = self.last[stretch] if changed else value
        return Series(text, self.low, self.high, self.last)
