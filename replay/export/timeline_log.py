"""The log of a timeline as a file that can be loaded again: JSON lines, or Parquet.

Data goes out as it was kept, with all digits. What was inserted is between what it was inserted
between; offsets are counted anew, as a log has no gaps.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from replay.export.event_slice import EVENT_LINE_SQL
from storage.errors import QueryError
from storage.workspace.workspace import Workspace

_BATCH_EVENTS = 50_000
_COLUMNS = (
    *("offset", "time", "stream", "revision", "type", "version", "id"),
    *("correlation_id", "causation_id", "data", "meta"),
)


def write_timeline_log(
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
        write_as = _write_parquet if path.suffix == ".parquet" else _write_json_lines
        count = write_as(workspace, unfinished, on_progress)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _dense_events_sql(workspace: Workspace) -> str:
    """SQL for the events with dense offsets."""
    gap_positions = [mark.position for mark in workspace.edit_marks(0, 1 << 62) if mark.leaves_gap]
    dense_offset = '"offset"'
    if gap_positions:
        from storage.timelines.forked_workspace import step_function_sql  # noqa: PLC0415 - only forks have gaps

        dense_offset = (
            '"offset" +'
            f" {step_function_sql(dense_offset, [(position, -1) for position in gap_positions])}"
        )
    return f'SELECT * REPLACE ({dense_offset} AS "offset") FROM events'


def _write_json_lines(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    with workspace.reading() as connection, path.open("w", encoding="utf-8") as out:
        query = f'SELECT {EVENT_LINE_SQL} AS line FROM ({_dense_events_sql(workspace)}) ORDER BY "offset"'
        for batch in connection.sql(query).to_arrow_reader(_BATCH_EVENTS):
            out.write("".join(batch.column(0).to_pylist()))
            count += batch.num_rows
            on_progress(count)
    return count


def _write_parquet(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    columns = ", ".join(json.dumps(name) for name in _COLUMNS)
    with workspace.reading() as connection:
        query = f'SELECT {columns} FROM ({_dense_events_sql(workspace)}) ORDER BY "offset"'
        reader = connection.sql(query).to_arrow_reader(_BATCH_EVENTS)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as out:
            for batch in reader:
                out.write_table(pa.Table.from_batches([batch]))
                count += batch.num_rows
                on_progress(count)
    return count
