"""Rewrites a workspace into a new file, so that no trace of left-out rows remains.

DuckDB keeps the bytes of deleted rows in the file until it reuses their blocks. Other processes wait
during a rewrite. If the process is killed, the workspace stays unchanged.
"""

import os
from collections.abc import Callable, Mapping

import duckdb
import pyarrow as pa

from storage.errors import CancelledError, WorkspaceError
from storage.workspace import schema, validation_cache
from storage.workspace.atomic_file import place_over, replace_atomically
from storage.workspace.metadata import begin_generation
from storage.workspace.workspace_file import WorkspaceFile

RowTransform = Callable[[pa.Table], pa.Table]
"""Takes rows of a table and returns the rows to write."""

_BATCH_ROWS = 50_000


def rewrite_workspace(
    workspace: WorkspaceFile,
    transforms: Mapping[str, RowTransform | None],
    finish: Callable[[duckdb.DuckDBPyConnection], None],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Rewrite every table in the order of `storage.workspace.schema`, through its transform if it has one.

    A table whose transform is None stays empty. `finish` receives a connection to the new workspace
    before it replaces the old one; `on_progress` receives the number of rows processed. Raises
    `CancelledError`, and `WorkspaceError` if the new file can't be written.
    """
    if not os.access(workspace.path.parent, os.W_OK):
        raise WorkspaceError(
            f"{workspace.path.parent} can't be written, and rewriting {workspace.path} needs a second file"
            " there; copy the workspace to a folder that you can write to."
        )
    written_rows = 0
    with workspace.writing() as old:
        # DuckDB would apply a write-ahead log that stays beside the file to the new one.
        old.execute("CHECKPOINT")
        own = validation_cache.is_own(workspace.path)
        with replace_atomically(workspace.path, place_over, own=own) as new:
            for table in schema.TABLES:
                transform = transforms.get(table.name, _keep_rows)
                if transform is None:
                    continue
                new.execute(f"DELETE FROM {table.name}")  # a new workspace already has metadata
                rows = old.cursor().sql(f"FROM {table.name}").to_arrow_reader(_BATCH_ROWS)
                for batch in rows:
                    if is_cancelled():
                        raise CancelledError("Interrupted; the workspace is unchanged.")
                    transformed = transform(pa.Table.from_batches([batch]))
                    if transformed.num_rows:
                        new.register("kept_rows", transformed)
                        new.execute(f"INSERT INTO {table.name} BY NAME FROM kept_rows")
                        new.unregister("kept_rows")
                    written_rows += batch.num_rows
                    on_progress(written_rows)
            begin_generation(new)
            finish(new)
    workspace.reread()
    workspace.release()


def _keep_rows(rows: pa.Table) -> pa.Table:
    return rows
