"""Commands that show events and states: events, state, diff, failures, printed and others."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import duckdb

from replay.document.diff import Difference, decode_state, encode_value, find_differences
from replay.history.changes import DocumentSnapshot
from replay.history.history import History
from replay.query import event_filter
from replay.worker_host.sigint import handled_signals
from storage.errors import QueryError, summarize_error
from storage.ingest.io.prefetch import prefetch_items
from storage.log import irregularities as log_irregularities
from storage.query import sql_query
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener
from tui.cli.support.output import RawJson

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.query_projections.state_query import StateQuery


@click.command(
    epilog=options.example("refold events orders.jsonl --where \"type = 'RefundIssued'\" --limit 5")
)
@options.workspace_argument
@options.at_option
@click.option(
    "--where", metavar="SQL", help="Only events that match: type = 'Paid', data.amount > 100."
)
@options.timeline_option
@options.limit_option
@options.wait_option
@options.json_option
def events(
    ws: str,
    at: str | None,
    where: str | None,
    timeline: str,
    limit: int | None,
    wait: float,
    as_json: bool,
) -> None:
    """List events in order.

    With --at: the events up to that position; --limit N then keeps the last N.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    rows = _event_rows(workspace, at, where, limit)
    if as_json:
        output.print_json_lines(
            {**row, "data": output.raw_json(row["data"]), "meta": output.raw_json(row["meta"])}
            for row in rows
        )
    else:
        columns = ("offset", "time", "stream", "revision", "type", "data")
        output.print_table(
            columns, ([r[c] for c in columns] for r in rows), right=("offset", "revision")
        )


def _event_rows(
    workspace: Workspace, at: str | None, where: str | None, limit: int | None
) -> Iterator[dict[str, Any]]:
    until = workspace_opener.parse_position(workspace, at)
    columns = '"offset", time, stream, revision, type, id, data, meta'
    with workspace.reading() as connection:
        condition = "true" if where is None else event_filter.compile_where(connection, where)
        query = (
            f'SELECT {columns} FROM events WHERE "offset" <= ? AND {condition} ORDER BY "offset"'
        )
        if limit is not None:
            order = "DESC" if at is not None else "ASC"
            query = f'FROM ({query} {order} LIMIT {limit}) ORDER BY "offset"'
        try:
            for batch in connection.sql(query, params=[until]).to_arrow_reader(10_000):
                yield from batch.to_pylist()
        except duckdb.Error as error:
            raise QueryError(
                f"The condition {where!r} failed: {summarize_error(error)}."
            ) from error


@click.command(
    epilog=options.example("refold state orders.jsonl -p orders.py --key order-382 --at 2376")
)
@options.workspace_argument
@options.projection_option
@options.at_option
@options.key_option
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def state(
    ws: str,
    projection: str,
    at: str | None,
    key: str | None,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Show the documents at a position.

    With --key: one document, in full.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    offset = workspace_opener.parse_position(workspace, at)
    states = projection_resolver.states_between(workspace, projection, python, offset, offset)
    if isinstance(states, History):
        rows = _state_rows(states, offset) if key is None else _state_row(states, key, offset)
    else:
        rows = _query_state_rows(states, key, offset)
    counted = output.CountedRows(islice(rows, limit))
    if as_json:
        output.print_json_lines(counted)
    elif key is not None:
        for row in counted:
            output.print_table(("key", "offset"), [(row["key"], row["offset"])], right=("offset",))
            output.print_state(row["state"])
    else:
        output.print_table(
            ("key", "offset", "state"),
            ((r["key"], r["offset"], r["state"]) for r in counted),
            right=("offset",),
        )
    if key is not None and not counted.count and limit != 0:
        progress_display.print_message(f"There is no document {key!r} at {at or 'the end'}.")
        return 1
    return 0


def _state_rows(history: History, offset: int) -> Iterator[dict[str, Any]]:
    for batch in history.scan_documents_at(offset):
        for row in batch.to_pylist():
            at = _known_offset(history, row["offset"])
            yield {"key": row["key"], "offset": at, "state": RawJson(row["state"])}


def _known_offset(history: History, changed: int) -> int | None:
    """Return the offset of a change, or None if the fold began after it."""
    return changed if changed >= history.fold_record.first_offset else None


def _query_state_rows(
    states: "StateQuery", key: str | None, offset: int
) -> Iterator[dict[str, Any]]:
    for batch in progress_display.rows_with_bar(
        states.projection_name, states.scan_documents_at(offset, key)
    ):
        for row in batch.to_pylist():
            yield {"key": row["key"], "offset": None, "state": RawJson(row["state"])}


def _state_row(history: History, key: str, offset: int) -> Iterator[dict[str, Any]]:
    change = history.state_at(key, offset)
    if change is not None and change.state is not None:
        at = _known_offset(history, change.offset)
        yield {"key": key, "offset": at, "state": RawJson(change.state)}


@click.command(
    epilog=options.example("refold diff orders.jsonl -p orders.py --from 2375 --to 2376")
)
@options.workspace_argument
@options.projection_option
@click.option(
    "--from", "start", metavar="POSITION", required=True, help="Start from this position."
)
@click.option(
    "--to", "end", metavar="POSITION", required=True, help="Compare it with this position."
)
@options.key_option
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def diff(
    ws: str,
    projection: str,
    start: str,
    end: str,
    key: str | None,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Show what changed between two positions.

    Each row is a path of a document, with the value before and after.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    first, last = (
        workspace_opener.parse_position(workspace, start),
        workspace_opener.parse_position(workspace, end),
    )
    states = projection_resolver.states_between(
        workspace, projection, python, *sorted((first, last))
    )
    rows = output.CountedRows(islice(_difference_rows(states, first, last, key), limit))
    if as_json:
        output.print_json_lines(rows)
    else:
        columns = ("key", "path", "before", "after")
        output.print_table(columns, ([r[c] for c in columns] for r in rows))
    if not rows.count and limit != 0:
        what = "No document" if key is None else f"Nothing in {key!r}"
        progress_display.print_message(f"{what} changed from {start} to {end}.")


def _difference_rows(
    states: "History | StateQuery", first: int, last: int, key: str | None
) -> Iterator[dict[str, Any]]:
    early, late = sorted((first, last))
    for name, one in _document_differences(states, early, late, key):
        difference = one if first <= last else Difference(one.path, one.after, one.before)
        yield {
            "key": name,
            "path": difference.path_text,
            "before": RawJson(encode_value(difference.before)),
            "after": RawJson(encode_value(difference.after)),
            "kind": difference.kind.value,
        }


def _document_differences(
    states: "History | StateQuery", early: int, late: int, key: str | None
) -> Iterator[tuple[str, Difference]]:
    """Yield each document's key with one difference between the two positions."""
    if isinstance(states, History) and key is not None:
        snapshot = DocumentSnapshot(states.state_at(key, late), states.state_at(key, early))
        yield from ((key, found) for found in snapshot.differences_to_previous())
        return
    if isinstance(states, History):
        pairs = states.scan_documents_changed_between(early, late)
    else:
        pairs = progress_display.rows_with_bar(
            states.projection_name, states.scan_documents_changed_between(early, late, key)
        )
    for name, old, new in pairs:
        yield from (
            (name, found) for found in find_differences(decode_state(old), decode_state(new))
        )


@click.command(epilog=options.example("refold failures orders.jsonl -p orders_wrong.py"))
@options.workspace_argument
@options.projection_option
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def failures(
    ws: str,
    projection: str,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """List the handlers that raised.

    Each row has the offset of the event and the error; --json adds the traceback.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    found = history.failures(limit=limit)
    columns = ("offset", "key", "type", "error", "traceback")
    if as_json:
        output.print_json_lines({name: getattr(f, name) for name in columns} for f in found)
    else:
        output.print_table(
            columns[:4], ([getattr(f, n) for n in columns[:4]] for f in found), right=("offset",)
        )


@click.command(epilog=options.example("refold printed orders.jsonl -p orders.py"))
@options.workspace_argument
@options.projection_option
@options.timeline_option
@options.python_option
@options.limit_option
@options.wait_option
@options.json_option
def printed(
    ws: str,
    projection: str,
    timeline: str,
    python: str | None,
    limit: int | None,
    wait: float,
    as_json: bool,
) -> None:
    """Show what handlers printed, by event.

    This covers standard output and standard error.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    found = history.printed_output(limit)
    output.print_rows(("offset", "text"), found, as_json=as_json, right=("offset",))


@click.command(epilog=options.example("refold unhandled orders.jsonl -p orders.py"))
@options.workspace_argument
@options.projection_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def unhandled(
    ws: str, projection: str, timeline: str, python: str | None, wait: float, as_json: bool
) -> None:
    """Count the events that PROJ has no handler for.

    Each row is a type and version, with the number of events and the offset of the first.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    columns = ("type", "version", "events", "offset")
    rows = [[getattr(u, name) for name in columns] for u in history.unhandled_events()]
    output.print_rows(columns, rows, as_json=as_json, right=("events", "offset"))


@click.command(epilog=options.example("refold irregularities orders.jsonl"))
@options.workspace_argument
@options.timeline_option
@options.limit_option
@options.wait_option
@options.json_option
def irregularities(ws: str, timeline: str, limit: int | None, wait: float, as_json: bool) -> None:
    """List gaps, duplicates and times that run backwards.

    Gaps and duplicates are those of revisions in a stream and of event ids; times are compared
    within a stream.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    columns = ("offset", "stream", "kind", "before", "found")
    found = log_irregularities.find_irregularities(workspace, limit)
    rows = ([getattr(one, name) for name in columns] for one in found)
    output.print_rows(columns, rows, as_json=as_json, right=("offset",))


@click.command(
    epilog=options.example(
        'refold sql orders.jsonl "SELECT type, count(*) FROM events GROUP BY ALL"'
    )
)
@options.workspace_argument
@click.argument("query", metavar="QUERY")
@options.timeline_option
@options.wait_option
@options.json_option
def sql(ws: str, query: str, timeline: str, wait: float, as_json: bool) -> None:
    """Query the tables of the workspace in SQL.

    DuckDB runs QUERY. It can't write anything, or read another file.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    stop = sql_query.QueryCancellation()
    with _stopped_by_ctrl_c(stop), sql_query.run_query(workspace, query, stop) as question:
        names = [column.name for column in question.columns]
        # Read in a thread, because Arrow ignores signals while it waits for DuckDB.
        rows = (
            row for batch in prefetch_items(question.read_batches()) for row in _plain_rows(batch)
        )
        if as_json:
            output.print_json_lines(dict(zip(names, row, strict=True)) for row in rows)
        else:
            output.print_table(names, rows)


@contextmanager
def _stopped_by_ctrl_c(stop: sql_query.QueryCancellation) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        stop.cancel()
        raise KeyboardInterrupt

    with handled_signals(interrupt, signal.SIGINT):
        yield


def _plain_rows(batch: "pa.RecordBatch") -> Iterator[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in batch.columns]
    return zip(*columns, strict=True)
