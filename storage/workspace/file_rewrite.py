"""A workspace written anew, so that nothing of what is left out remains in its file.

Deleted rows would stay in a file until something else takes their place. Other processes wait
meanwhile; whoever is killed leaves the workspace as it was.
"""

import os
from collections.abc import Callable, Mapping

import duckdb
import pyarrow as pa

from storage.errors import CancelledError, WorkspaceError
from storage.workspace import schema, validation_cache
from storage.workspace.atomic_file import place_over, replace_atomically
from storage.workspace.workspace import Workspace, begin_generation

RowTransform = Callable[[pa.Table], pa.Table]
"""Rows of a table into those that stay, as they stay."""

_BATCH_ROWS = 50_000


def rewrite_workspace(
    workspace: Workspace,
    transforms: Mapping[str, RowTransform | None],
    finish: Callable[[duckdb.DuckDBPyConnection], None],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write every table anew, in the order of `storage.workspace.schema`; what isn't named stays as it is.

    A table for which there is None is left empty. `finish` gets the new workspace before it takes
    the old one's place; `on_progress` is told the rows that were written. Raises `CancelledError`,
    and `WorkspaceError` where there is no room.
    """
    if not os.access(workspace.path.parent, os.W_OK):
        raise WorkspaceError(
            f"{workspace.path} is written anew beside the old one, and {workspace.path.parent} can't be"
            " written; copy it to a folder that can."
        )
    written_rows = 0
    with workspace.writing() as old:
        old.execute("CHECKPOINT")  # a log beside the file would be taken for the new one's
        own = validation_cache.is_own(workspace.path)
        with replace_atomically(workspace.path, place_over, own=own) as new:
            for table in schema.TABLES:
                transform = transforms.get(table.name, _keep_rows)
                if transform is None:
                    continue
                new.execute(f"DELETE FROM {table.name}")  # a new workspace knows its format
                rows = old.cursor().sql(f"FROM {table.name}").to_arrow_reader(_BATCH_ROWS)
                for batch in rows:
                    if is_cancelled():
                        raise CancelledError("Interrupted; the workspace is as it was.")
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


def _keep_rows(rows: pa.Table) -> pa.Table:
    return rows
