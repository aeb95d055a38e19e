"""Asking DuckDB: answers come as Arrow, as its own tuples need a time zone library for times."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa


def arrow(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> pa.Table:
    """The answer to a query as a table."""
    return connection.sql(query, params=parameters or None).to_arrow_table()


def arrow_rows(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> list[dict[str, Any]]:
    """The answer to a query as dicts, for answers of a few rows."""
    rows: list[dict[str, Any]] = arrow(connection, query, parameters).to_pylist()
    return rows
