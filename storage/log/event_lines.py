"""Events as lines of JSON for `refold load`, and as rows without gaps.

Data is written as stored, with all digits of its numbers.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from storage.coordinates.fold_scope import FoldScope
from storage.folds.key_selection import KeySelection
from storage.folds.route_rows import reached_offsets_sql
from storage.quoting import quote_identifier
from storage.timelines.fork_views import step_function_sql
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_EVENT_LINE_SQL = """
'{"offset": ' || "offset"
|| ', "time": ' || coalesce(to_json(strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ')), 'null')
|| ', "stream": ' || coalesce(to_json(stream), 'null')
|| ', "revision": ' || coalesce(CAST(revision AS VARCHAR), 'null')
|| ', "type": ' || coalesce(to_json(type), 'null')
|| ', "version": ' || coalesce(
    CASE WHEN regexp_full_match(version, '0|[1-9][0-9]*') THEN version ELSE to_json(version) END,
    'null')
|| ', "id": ' || coalesce(to_json(id), 'null')
|| ', "correlation_id": ' || coalesce(to_json(correlation_id), 'null')
|| ', "causation_id": ' || coalesce(to_json(causation_id), 'null')
|| ', "data": ' || translate(coalesce(data, 'null'), chr(10) || chr(13), '  ')
|| ', "meta": ' || translate(coalesce(meta, 'null'), chr(10) || chr(13), '  ') || '}' || chr(10)
"""
"""SQL for an event as a line of JSON. Line breaks become blanks: in JSON they only separate tokens."""
_BATCH_EVENTS = 50_000


def iterate_lines_reaching(
    workspace: Workspace,
    scope: FoldScope,
    key: str | None,
    until: int,
    *,
    is_routed: bool,
    include_last: bool,
) -> Iterator[list[str]]:
    """Yield the lines of the events up to an offset that reached a document, in order.

    `include_last` includes the event at the offset even if it didn't reach the document.
    """
    last = f'"offset" = {int(until)}' if include_last else "false"
    query = (
        f'SELECT {_EVENT_LINE_SQL} AS line FROM events WHERE ("offset" IN'
        f" ({reached_offsets_sql(scope, is_routed=is_routed)}) OR {last})"
        f' AND "offset" <= {int(until)} ORDER BY "offset"'
    )
    with workspace.reading() as connection:
        KeySelection([] if key is None else [key]).register(connection)
        for batch in connection.sql(query).to_arrow_reader(_BATCH_EVENTS):
            yield batch.column(0).to_pylist()


def iterate_dense_lines(workspace: Workspace) -> Iterator[list[str]]:
    """Yield the lines of all events of a timeline, with offsets without gaps."""
    query = (
        f'SELECT {_EVENT_LINE_SQL} AS line FROM ({_dense_events_sql(workspace)}) ORDER BY "offset"'
    )
    with workspace.reading() as connection:
        for batch in connection.sql(query).to_arrow_reader(_BATCH_EVENTS):
            yield batch.column(0).to_pylist()


def iterate_dense_events(workspace: Workspace, names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
    """Yield the columns of these names of all events of a timeline, with offsets without gaps.

    There is always a batch, so that a writer knows the schema.
    """
    columns = ", ".join(map(quote_identifier, names))
    query = f'SELECT {columns} FROM ({_dense_events_sql(workspace)}) ORDER BY "offset"'
    with workspace.reading() as connection:
        reader = connection.sql(query).to_arrow_reader(_BATCH_EVENTS)
        is_empty = True
        for batch in reader:
            is_empty = False
            yield batch
        if is_empty:
            yield _empty_batch(reader.schema)


def _empty_batch(schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa  # noqa: PLC0415 - few logs are empty

    return pa.RecordBatch.from_pylist([], schema=schema)


def _dense_events_sql(workspace: Workspace) -> str:
    """Return SQL for the events with offsets without gaps."""
    gap_positions = [mark.position for mark in workspace.edit_marks(0, 1 << 62) if mark.leaves_gap]
    dense_offset = '"offset"'
    if gap_positions:
        steps = [(position, -1) for position in gap_positions]
        dense_offset = f'"offset" + {step_function_sql(dense_offset, steps)}'
    return f'SELECT * REPLACE ({dense_offset} AS "offset") FROM events'
