"""Asking DuckDB for a few rows, without Arrow, whose import a screen need not wait for.

Times are asked for as `epoch_us(…)`: DuckDB's own tuples of them would need a time zone library.
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
    """The answer to a query as dicts, for answers of a few rows."""
    answer = connection.execute(query, parameters or None)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def fetch_arrow(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> "pa.Table":
    """The answer to a query as an Arrow table."""
    return connection.sql(query, params=parameters or None).to_arrow_table()


def time_from_micros(micros: int | None) -> datetime | None:
    """Microseconds since 1970 as a time; None beyond the years that Python's times have.

    A load keeps no such time; a workspace of an older refold, or of others, may hold one.
    """
    try:
        return None if micros is None else _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
