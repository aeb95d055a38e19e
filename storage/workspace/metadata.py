"""Values of the table `workspace`: the format version, the mapping, the generation and the like."""

import json
import uuid
from typing import Any

import duckdb

GENERATION = "generation"
"""The name of a workspace's generation; see `WorkspaceFile.generation`."""


def begin_generation(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a workspace that was written as a whole a new generation."""
    write_metadata(connection, GENERATION, uuid.uuid4().hex)


def read_metadata(connection: duckdb.DuckDBPyConnection, name: str) -> Any:
    rows = connection.execute("SELECT value FROM workspace WHERE name = ?", [name]).fetchall()
    return json.loads(rows[0][0]) if rows else None


def write_metadata(connection: duckdb.DuckDBPyConnection, name: str, value: Any) -> None:
    connection.execute("DELETE FROM workspace WHERE name = ?", [name])
    connection.execute("INSERT INTO workspace VALUES (?, ?)", [name, json.dumps(value)])
