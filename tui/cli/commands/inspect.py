"""Commands that look: events, state, diff, failures, printed, unhandled, irregularities, sql."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import duckdb

from replay.document.diff import Difference, decode, differences, encode
from replay.history.changes import Moment
from replay.history.history import History
from replay.query import event_filter
from storage.errors import QueryError, one_line
from storage.ingest.io.prefetch import ahead
from storage.log import irregularities as log_irregularities
from storage.query import sql_query
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output, progress_display
from tui.cli.support.output import Raw

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.query_projections.state_query import Looked


@click.command()
@options.workspace_argument
@options.at_option
@click.option(
    "--where", metavar="SQL", help="Those that a condition keeps: type = 'Paid', data.amount > 100."
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
    """The events, in order; with --at those that had happened by then, the last N of them."""
    workspace = options.open_workspace(ws, wait, timeline)
    rows = _events(workspace, at, where, limit)
    if as_json:
        output.lines(
            {**row, "data": output.raw(row["data"]), "meta": output.raw(row["meta"])}
            for row in rows
        )
    else:
        columns = ("offset", "time", "stream", "revision", "type", "data")
        output.table(columns, ([r[c] for c in columns] for r in rows), right=("offset", "revision"))


def _events(
    workspace: Workspace, at: str | None, where: str | None, limit: int | None
) -> Iterator[dict[str, Any]]:
    until = options.position(workspace, at)
    columns = '"offset", time, stream, revision, type, id, data, meta'
    with workspace.reading() as connection:
        condition = "true" if where is None else event_filter.where(connection, where)
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
            raise QueryError(f"The condition {where!r} failed: {one_line(error)}.") from error


@click.command()
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
    """The documents at a position; with --key one of them, whole."""
    workspace = options.open_workspace(ws, wait, timeline)
    offset = options.position(workspace, at)
    states = options.states(workspace, projection, python, offset, offset)
    if isinstance(states, History):
        rows = _all_states(states, offset) if key is None else _one_state(states, key, offset)
    else:
        rows = _looked_at(states, key, offset)
    found = output.Counted(islice(rows, limit))
    if as_json:
        output.lines(found)
    elif key is not None:
        for row in found:
            output.table(("key", "offset"), [(row["key"], row["offset"])], right=("offset",))
            output.whole(row["state"])
    else:
        output.table(
            ("key", "offset", "state"),
            ((r["key"], r["offset"], r["state"]) for r in found),
            right=("offset",),
        )
    if key is not None and not found.count and limit != 0:
        progress_display.say(f"There is no document {key!r} at {at or 'the end'}.")
        return 1
    return 0


def _all_states(history: History, offset: int) -> Iterator[dict[str, Any]]:
    for batch in history.all_at(offset):
        for row in batch.to_pylist():
            at = _known(history, row["offset"])
            yield {"key": row["key"], "offset": at, "state": Raw(row["state"])}


def _known(history: History, changed: int) -> int | None:
    """The offset of a change, where it isn't before what is known."""
    return changed if changed >= history.folded.first else None


def _looked_at(states: "Looked", key: str | None, offset: int) -> Iterator[dict[str, Any]]:
    for batch in progress_display.asked(states.name, states.all_at(offset, key)):
        for row in batch.to_pylist():
            yield {"key": row["key"], "offset": None, "state": Raw(row["state"])}


def _one_state(history: History, key: str, offset: int) -> Iterator[dict[str, Any]]:
    change = history.state(key, offset)
    if change is not None and change.state is not None:
        at = _known(history, change.offset)
        yield {"key": key, "offset": at, "state": Raw(change.state)}


@click.command()
@options.workspace_argument
@options.projection_option
@click.option("--from", "start", metavar="POSITION", required=True, help="The one position.")
@click.option("--to", "end", metavar="POSITION", required=True, help="The other.")
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
    """What changed between two positions: paths, with the value before and after."""
    workspace = options.open_workspace(ws, wait, timeline)
    first, last = options.position(workspace, start), options.position(workspace, end)
    states = options.states(workspace, projection, python, *sorted((first, last)))
    rows = output.Counted(islice(_differences(states, first, last, key), limit))
    if as_json:
        output.lines(rows)
    else:
        columns = ("key", "path", "before", "after")
        output.table(columns, ([r[c] for c in columns] for r in rows))
    if not rows.count and limit != 0:
        what = "no document" if key is None else f"nothing of {key!r}"
        progress_display.say(f"From {start} to {end} {what} has changed.")


def _differences(
    states: "History | Looked", first: int, last: int, key: str | None
) -> Iterator[dict[str, Any]]:
    early, late = sorted((first, last))
    for name, found in _found(states, early, late, key):
        turned = found if first <= last else Difference(found.path, found.after, found.before)
        yield {
            "key": name,
            "path": turned.written,
            "before": Raw(encode(turned.before)),
            "after": Raw(encode(turned.after)),
            "kind": turned.kind.value,
        }


def _found(
    states: "History | Looked", early: int, late: int, key: str | None
) -> Iterator[tuple[str, Difference]]:
    """Documents, and how they differ at the later position."""
    if isinstance(states, History) and key is not None:
        moment = Moment(states.state(key, late), states.state(key, early))
        yield from ((key, found) for found in moment.differences())
        return
    if isinstance(states, History):
        pairs = states.changed_between(early, late)
    else:
        pairs = progress_display.asked(states.name, states.changed_between(early, late, key))
    for name, old, new in pairs:
        yield from ((name, found) for found in differences(decode(old), decode(new)))


@click.command()
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
    """The handlers that raised, each with its offset; with --json its traceback too."""
    workspace = options.open_workspace(ws, wait, timeline)
    history = options.folded_history(workspace, projection, python)
    found = history.failures(limit=limit)
    columns = ("offset", "key", "type", "error", "traceback")
    if as_json:
        output.lines({name: getattr(f, name) for name in columns} for f in found)
    else:
        output.table(
            columns[:4], ([getattr(f, n) for n in columns[:4]] for f in found), right=("offset",)
        )


@click.command()
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
    """What handlers wrote to standard output and standard error, by event."""
    workspace = options.open_workspace(ws, wait, timeline)
    history = options.folded_history(workspace, projection, python)
    found = history.printed(limit)
    output.told(("offset", "text"), found, as_json=as_json, right=("offset",))


@click.command()
@options.workspace_argument
@options.projection_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def unhandled(
    ws: str, projection: str, timeline: str, python: str | None, wait: float, as_json: bool
) -> None:
    """Types and versions of events that PROJ has no handler for, with how many and the first."""
    workspace = options.open_workspace(ws, wait, timeline)
    history = options.folded_history(workspace, projection, python)
    columns = ("type", "version", "events", "offset")
    rows = [[getattr(u, name) for name in columns] for u in history.unhandled()]
    output.told(columns, rows, as_json=as_json, right=("events", "offset"))


@click.command()
@options.workspace_argument
@options.timeline_option
@options.limit_option
@options.wait_option
@options.json_option
def irregularities(ws: str, timeline: str, limit: int | None, wait: float, as_json: bool) -> None:
    """Ids that come again, revisions that jump or repeat, times that run backwards in a stream."""
    workspace = options.open_workspace(ws, wait, timeline)
    columns = ("offset", "stream", "kind", "before", "found")
    found = log_irregularities.find(workspace, limit)
    rows = ([getattr(one, name) for name in columns] for one in found)
    output.told(columns, rows, as_json=as_json, right=("offset",))


@click.command()
@options.workspace_argument
@click.argument("query", metavar="QUERY")
@options.timeline_option
@options.wait_option
@options.json_option
def sql(ws: str, query: str, timeline: str, wait: float, as_json: bool) -> None:
    """Ask DuckDB over the workspace's tables. It can write nothing and read no other file."""
    workspace = options.open_workspace(ws, wait, timeline)
    stop = sql_query.Stop()
    with _stopped_by_ctrl_c(stop), sql_query.asked(workspace, query, stop) as question:
        names = [column.name for column in question.columns]
        # In a thread, as Arrow waits for DuckDB without hearing any signal.
        rows = (row for batch in ahead(question.batches()) for row in _plain(batch))
        if as_json:
            output.lines(dict(zip(names, row, strict=True)) for row in rows)
        else:
            output.table(names, rows)


@contextmanager
def _stopped_by_ctrl_c(stop: sql_query.Stop) -> Iterator[None]:
    def interrupted(number: int, frame: object) -> None:  # noqa: ARG001 - signal's signature
        stop.stop()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _plain(batch: "pa.RecordBatch") -> Iterator[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in batch.columns]
    return zip(*columns, strict=True)
