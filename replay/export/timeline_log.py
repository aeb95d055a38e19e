"""Writes the events of a timeline to a file for `refold load`, as JSON lines or Parquet.

Data is written as stored, with all digits of its numbers. Inserted events appear at their positions;
offsets are renumbered, because a log has no gaps.
"""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic_write import atomic_path
from storage.errors import QueryError
from storage.log import event_lines
from storage.workspace.workspace import Workspace

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


def _write_json_lines(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for lines in event_lines.iterate_dense_lines(workspace):
            out.write("".join(lines))
            count += len(lines)
            on_progress(count)
    return count


def _write_parquet(workspace: Workspace, path: Path, on_progress: Callable[[int], None]) -> int:
    count = 0
    batches = event_lines.iterate_dense_events(workspace, _COLUMNS)
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as out:
        for batch in chain([first], batches):
            out.write_table(pa.Table.from_batches([batch]))
            count += batch.num_rows
            on_progress(count)
    return count
