"""Values over time: numbers of a document, or of all of them together, cut into stretches of the log.

Every state counts: a stretch keeps its lowest and highest value, so that no spike is lost however
few columns there are to draw in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from replay import aggregates, expressions
from replay.history import History, bucket
from storage.conditions import unanswerable
from storage.errors import QueryError


@dataclass(frozen=True)
class Series:
    """One value over stretches of the log; NaN where there was none."""

    name: str
    """The expression, as it was typed."""
    low: "np.ndarray[Any, np.dtype[np.float64]]"
    high: "np.ndarray[Any, np.dtype[np.float64]]"
    last: "np.ndarray[Any, np.dtype[np.float64]]"
    """The value at the stretch's end."""

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
        # Registering needs a connection without an open result.
        stretches = _stretches(ends)
        connection.register("stretches", stretches)
        if aggregates.is_aggregated(connection, text):
            found = _of_all(connection, history, text)
        elif key is None:
            raise QueryError(
                f"{text!r} is a value of one document: select one, or ask for sum, avg or count."
            )
        else:
            found = _of_document(connection, history, text, key)
    return _filled(text, found, len(ends))


def _of_all(
    connection: duckdb.DuckDBPyConnection, history: History, text: str
) -> list[tuple[int, float | None, float | None, float | None]]:
    wanted = aggregates.value(connection, text, long_numbers=history.long_numbers)
    return aggregates.rows(
        connection,
        history,
        wanted,
        lambda running: _cut(
            f'SELECT "offset", CAST({wanted.sql} AS DOUBLE) AS v FROM ({running})'
        ),
    )


def _of_document(
    connection: duckdb.DuckDBPyConnection, history: History, text: str, key: str
) -> list[tuple[int, float | None, float | None, float | None]]:
    wanted = expressions.value(connection, text, long_numbers=False)
    number = f"TRY_CAST(trim({wanted.sql}, '\"') AS DOUBLE)"  # Decimals are text in JSON
    points = (
        f'SELECT "offset", CASE WHEN state IS NOT NULL THEN {number} END AS v FROM'
        f' (SELECT "offset", key, state{wanted.values} FROM history'
        " WHERE projection = ? AND timeline = ? AND bucket = ? AND key = ?)"
    )
    names = [history.folded.number, history.folded.timeline, bucket(key), key]
    try:
        return connection.execute(_cut(points), names).fetchall()
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise unanswerable(text, "states", error) from error


def _stretches(ends: Sequence[int]) -> pa.Table:
    last = np.maximum.accumulate(np.asarray(ends, dtype=np.int64))
    # Stretches without events end where the one before does; the first of them has the events.
    kept = np.flatnonzero(np.diff(last, prepend=-1) > 0)
    return pa.table({"stretch": pa.array(kept), "ending": pa.array(last[kept])})


def _cut(points: str) -> str:
    """SQL for the lowest, highest and last of the points in each stretch."""
    return (
        'SELECT stretch, min(v), max(v), arg_max({"v": v}, "offset").v FROM'
        f' ({points}) AS p ASOF JOIN stretches ON p."offset" <= ending'
        " GROUP BY stretch ORDER BY stretch"
    )


def _filled(
    text: str, found: list[tuple[int, float | None, float | None, float | None]], count: int
) -> Series:
    low, high, last = (np.full(count, math.nan) for _ in range(3))
    for stretch, least, most, final in found:
        low[stretch] = math.nan if least is None else least
        high[stretch] = math.nan if most is None else most
        last[stretch] = math.nan if final is None else final
    changed = np.zeros(count, dtype=bool)
    changed[[row[0] for row in found]] = True
    value = math.nan
    for stretch in range(count):
        # A stretch begins with the value of the one before, and one without changes keeps it.
        low[stretch] = np.fmin(low[stretch], value)
        high[stretch] = np.fmax(high[stretch], value)
        value = last[stretch] = last[stretch] if changed[stretch] else value
    return Series(text, low, high, last)
