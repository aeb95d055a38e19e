"""Writes the events of a timeline to a file for `refold load`, as JSON lines or Parquet.

Data is written as stored, with all digits of its numbers. Inserted events appear at their positions;
offsets are renumbered, because a log has no gaps.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from replay.export.event_slice import EVENT_LINE_SQL
from storage.atomic_write import atomic_path
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
    """Write all events of the workspace's timeline, and return their number.

    The suffix of the file's name chooses the format. `on_progress` receives the events written so far.
    Raises `QueryError` for another suffix, or if the file exists and `replace` is false.
    """
    if path.suffix not in (".jsonl", ".ndjson", ".json", ".parquet"):
        raise QueryError(f"{path} has no known format. Name it .jsonl or .parquet.")
    exists_error = QueryError(f"{path} exists already. Overwrite it with --replace.")
    if path.exists() and not replace:
        raise exists_error
    write_as = _write_parquet if path.suffix == ".parquet" else _write_json_lines
    try:
        with atomic_path(path, replace=replace) as unfinished:
            return write_as(workspace, unfinished, on_progress)
    except FileExistsError as error:  # it was created meanwhile
        raise exists_error from error


def _dense_events_sql(workspace: Workspace) -> str:
    """Return SQL for the events with offsets without gaps."""
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
