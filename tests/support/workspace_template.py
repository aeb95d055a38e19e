"""New workspaces as copies of an empty one, because creating the tables takes a third of a load."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb

from storage.db.isolated_connection import connect_isolated
from storage.workspace import new_workspace
from storage.workspace.metadata import begin_generation
from storage.workspace.workspace_file import WRITE_BUDGET

_create_workspace = new_workspace.create_workspace


@cache
def _template() -> bytes:
    """Return the bytes of an empty workspace that refold has created."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.refold"
        with _create_workspace(path):
            pass
        return path.read_bytes()


@contextmanager
def _copy_template(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a new workspace, as `create_workspace` does."""
    if path.exists():
        with _create_workspace(path) as connection:
            yield connection
        return
    path.write_bytes(_template())
    connection = connect_isolated(path, read_only=False, budget=WRITE_BUDGET)
    try:
        begin_generation(connection)
        yield connection
    finally:
        connection.close()


def install() -> None:
    """Make this process create each workspace as a copy."""
    new_workspace.create_workspace = _copy_template
