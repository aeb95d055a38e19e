"""Queries for a few rows without Arrow, so that the screen starts without importing it.

Select times as `epoch_us(…)`: DuckDB needs a time zone library to return TIMESTAMPTZ as Python values.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fetch_rows(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts; meant for a few rows."""
    answer = connection.execute(query, parameters or None)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def fetch_arrow(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> "pa.Table":
    """Return the rows of a query as an Arrow table."""
    return connection.sql(query, params=parameters or None).to_arrow_table()


def time_from_micros(micros: int | None) -> datetime | None:
    """Return microseconds since 1970 as a time in UTC, or None if Python can't represent that year.

    A load writes no such time, but a workspace from an older refold or from elsewhere may contain one.
    """
    try:
        return None if micros is None else _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
