"""Creates the file of an empty workspace."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from storage.db.isolated_connection import connect_isolated
from storage.workspace import schema
from storage.workspace.metadata import begin_generation, write_metadata
from storage.workspace.workspace_file import WRITE_BUDGET


@contextmanager
def create_workspace(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Create an empty workspace and yield a connection to write it; DuckDB's own errors pass through."""
    connection = connect_isolated(path, read_only=False, budget=WRITE_BUDGET)
    try:
        schema.create_schema(connection)
        write_metadata(connection, "format_version", schema.FORMAT_VERSION)
        begin_generation(connection)
        yield connection
    finally:
        connection.close()
