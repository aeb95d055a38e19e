"""The log of a timeline as a file that can be loaded again: JSON lines, or Parquet.

Data goes out as it was kept, with all digits. What was inserted is between what it was inserted
between; offsets are counted anew, as a log has no gaps.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from replay.export.event_slice import LINE
from storage.errors import QueryError
from storage.workspace.workspace import Workspace

_BATCH = 50_000
_COLUMNS = (
    *("offset", "time", "stream", "revision", "type", "version", "id"),
    *("correlation_id", "causation_id", "data", "meta"),
)


def write(
    workspace: Workspace,
    path: Path,
    *,
    replace: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write all events of the workspace's timeline, and return how many; raises `QueryError`.

    The file's name says which format it is.
    """
    if path.suffix not in (".jsonl", ".ndjson", ".json", ".parquet"):
        raise QueryError(f"{path} says no format; name it .jsonl or .parquet.")
    if path.exists() and not replace:
        raise QueryError(f"{path} is there already; --replace writes over it.")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        write_as = _parquet if path.suffix == ".parquet" else _lines
        count = write_as(workspace, unfinished, on_progress)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _numbered(workspace: Workspace) -> str:
    """SQL for the events with dense offsets."""
    gone = [mark.place for mark in workspace.marks(0, 1 << 62) if mark.leaves_a_gap]
    dense = '"offset"'
    if gone:
        from storage.timelines.workspace_view import stairs  # noqa: PLC0415 - only forks have gaps

        dense = f'"offset" + {stairs(dense, [(place, -1) for place in gone])}'
    return f'SELECT * REPLACE ({dense} AS "offset") FROM events'


def _lines(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    with workspace.reading() as connection, path.open("w", encoding="utf-8") as out:
        query = f'SELECT {LINE} AS line FROM ({_numbered(workspace)}) ORDER BY "offset"'
        for batch in connection.sql(query).to_arrow_reader(_BATCH):
            out.write("".join(batch.column(0).to_pylist()))
            count += batch.num_rows
            on_progress(count)
    return count


def _parquet(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    columns = ", ".join(json.dumps(name) for name in _COLUMNS)
    with workspace.reading() as connection:
        query = f'SELECT {columns} FROM ({_numbered(workspace)}) ORDER BY "offset"'
        reader = connection.sql(query).to_arrow_reader(_BATCH)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as out:
            for batch in reader:
                out.write_table(pa.Table.from_batches([batch]))
                count += batch.num_rows
                on_progress(count)
    return count
