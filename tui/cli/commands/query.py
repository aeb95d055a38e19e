"""Commands that search through time: blame, find, values, logpoint, causes."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import click

from replay.document import paths
from replay.document.diff import Difference, encode_value
from replay.history.history import History
from replay.query import blame as blaming
from replay.query import condition_search
from replay.query.blame import ValueChange
from replay.query.condition_search import Transition
from replay.query.unknown_paths import describe_unknown_paths
from storage.log import causation as causing
from storage.log.event_log import EventLog
from storage.log.positions import START
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener
from tui.cli.support.output import RawJson

if TYPE_CHECKING:
    from replay.query.series import Series

_BATCH_ROWS = 256


@click.command(
    epilog=options.example("refold blame orders.jsonl -p orders_wrong.py --key order-382 refunded")
)
@options.workspace_argument
@options.projection_option
@click.option("--key", "key", metavar="K", required=True, help="The document.")
@click.argument("path", metavar="PATH", default="$")
@options.at_option
@options.from_option
@options.to_option
@click.option(
    "--all", "every", is_flag=True, help="Every change up to that position, the latest first."
)
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def blame(
    ws: str,
    projection: str,
    key: str,
    path: str,
    at: str | None,
    start: str | None,
    end: str | None,
    every: bool,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Find the event that last changed a value.

    PATH is items.sku-7.qty, lines[0].qty or $."a b".c; without PATH, the whole document.
    """
    if at is not None and end is not None:
        raise click.UsageError("--at and --to both set the end; give one of them")
    wanted = paths.parse_path(path)
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    span = workspace_opener.parse_span(workspace, start, end or (at if start is not None else None))
    history = projection_resolver.fold_history(workspace, projection, python, span)
    until = workspace_opener.parse_position(workspace, end or at)
    after = span.position_before if span else START
    found = blaming.find_value_changes(
        history, key, wanted, after=after, until=until, backwards=True
    )
    rows = output.CountedRows(_value_change_rows(history, found if every else islice(found, 1)))
    if as_json:
        output.print_json_lines(rows)
    else:
        columns = ("offset", "time", "type", "id", "before", "after")
        output.print_table(columns, ([r[c] for c in columns] for r in rows), right=("offset",))
    if not rows.count:
        if history.ordinal_of(key) is None:
            progress_display.print_message(f"There is no document {key!r} at any position.")
        else:
            by = end or at or "the end"
            progress_display.print_message(
                f"No event up to {by} changed {paths.format_path(wanted)} of {key!r}."
            )
        return 1
    return 0


@click.command(
    epilog=options.example('refold find orders.jsonl -p orders_wrong.py "state.paid > state.total"')
)
@options.workspace_argument
@options.projection_option
@click.argument("condition", metavar="CONDITION")
@click.option("--first", is_flag=True, help="Only the first time.")
@click.option("--ended", is_flag=True, help="Find when it stopped being true.")
@options.from_option
@options.to_option
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def find(
    ws: str,
    projection: str,
    condition: str,
    first: bool,
    ended: bool,
    start: str | None,
    end: str | None,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Find when a condition on a document became true.

    CONDITION is SQL over state, key and offset: state.items['sku-7'] > 2 AND state.note ILIKE
    '%late%'; or over all documents, with sum, avg and count: sum(state.balance) <> 0. It may use
    = <> < > AND OR NOT IN BETWEEN LIKE, IS NULL for a missing value, + - * / %, abs, round, least,
    greatest, length, lower, upper, contains, starts_with, regexp_matches. The condition counts as
    false before a document's first state.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    span = workspace_opener.parse_span(workspace, start, end)
    history = projection_resolver.fold_history(workspace, projection, python, span)
    parsed = condition_search.parse_condition(history, condition)
    after = span.position_before if span else START
    others = 0

    def hits() -> Iterator[Transition]:
        nonlocal others
        for stretch in (
            condition_search.find_became_false if ended else condition_search.find_became_true
        )(history, parsed):
            others += stretch.mismatched_states
            yield from (hit for hit in stretch.transitions if hit.offset > after)
            if span is not None and stretch.last_offset >= span.last:
                return

    def wanted() -> Iterator[Transition]:
        return takewhile(lambda hit: span is None or hit.offset <= span.last, hits())

    rows = output.CountedRows(_transition_rows(history, islice(wanted(), 1 if first else limit)))
    if as_json:
        output.print_json_lines(rows)
    else:
        columns = ("offset", "key", "state")
        output.print_table(columns, ([r[c] for c in columns] for r in rows), right=("offset",))
    if others:
        progress_display.print_message(
            f"In {others:,} states the value has another type than {condition!r} expects;"
            " they count as false."
        )
    if not rows.count:
        turned = "stopped being true" if ended else "became true"
        progress_display.print_message(f"{condition!r} never {turned}.")
    if rows.count and history.fold_record.part_change_count:
        progress_display.print_message(
            "The state of a large document shows only the parts that the event changed."
        )
    progress_display.print_hint(describe_unknown_paths(history, parsed))


def _transition_rows(history: History, hits: Iterator[Transition]) -> Iterator[dict[str, Any]]:
    count = 1  # print the first result at once
    while page := list(islice(hits, count)):
        states = history.states_after(
            [(hit.offset, hit.key) for hit in page if hit.key is not None]
        )
        for hit in page:
            state = states.get((hit.offset, hit.key)) if hit.key is not None else None
            yield {"offset": hit.offset, "key": hit.key, "state": output.raw_json(state)}
        count = _BATCH_ROWS


@click.command(
    epilog=options.example(
        "refold values orders.jsonl -p orders.py --stretches 10 'sum(state.refunded)'"
    )
)
@options.workspace_argument
@options.projection_option
@click.argument("expressions", metavar="EXPRESSION...", nargs=-1, required=True)
@click.option("--key", "key", metavar="K", help="The document whose `state` you ask for.")
@click.option(
    "--stretches",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="Split the log into this many stretches; each gets one row per expression.",
)
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def values(
    ws: str,
    projection: str,
    expressions: tuple[str, ...],
    key: str | None,
    stretches: int,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Show how values developed over time.

    EXPRESSION is state.total of one document (with --key), or sum(state.total) of all. refold cuts
    the log into stretches of equal time, or of equal length if its events have no times, and shows
    the lowest, the highest and the last value of each.
    """
    from replay.query.series import compute_series  # noqa: PLC0415 - only this command needs numpy

    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    ends = EventLog(workspace).read_density(stretches).last_offsets
    rows = (
        {"expression": text, "offset": end, "low": low, "high": high, "last": last}
        for text in expressions
        for end, low, high, last in _series_points(compute_series(history, text, ends, key), ends)
    )
    columns = ("expression", "offset", "low", "high", "last")
    if as_json:
        output.print_json_lines(rows)
    else:
        output.print_table(columns, ([r[c] for c in columns] for r in rows), right=columns[1:])
    for text in expressions:
        progress_display.print_hint(describe_unknown_paths(history, text))


def _series_points(found: "Series", ends: Sequence[int]) -> Iterator[tuple[int, Any, Any, Any]]:
    """Yield the stretches that have events and a value; null if a value is not a number."""
    before = START
    numbers = zip(ends, found.low.tolist(), found.high.tolist(), found.last.tolist(), strict=True)
    for end, *three in numbers:
        if end > before and not all(map(math.isnan, three)):
            low, high, last = (None if math.isnan(number) else number for number in three)
            yield end, low, high, last
        before = end


@click.command(
    epilog=options.example(
        "refold logpoint orders.jsonl -p orders.py --type RefundIssued state.refunded"
    )
)
@options.workspace_argument
@options.projection_option
@click.argument("expressions", metavar="EXPRESSION...", nargs=-1, required=True)
@click.option("--type", "kind", metavar="T", help="Only at events of this type.")
@click.option("--where", metavar="SQL", help="Only at events that match: data.amount > 100.")
@click.option(
    "--when", "when", metavar="CONDITION", help="Only if this holds: state.total < before.total."
)
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def logpoint(
    ws: str,
    projection: str,
    expressions: tuple[str, ...],
    kind: str | None,
    where: str | None,
    when: str | None,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Evaluate expressions at every event.

    The result is as if the handler had always printed them. EXPRESSION is SQL over state, before,
    data, meta and the event's columns: "state.total - before.total" data.amount
    """
    from replay.query.logpoints import build_type_condition, evaluate_logpoints  # noqa: PLC0415 - it imports Arrow

    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    conditions = [
        *([build_type_condition(kind)] if kind is not None else []),
        *([where] if where else []),
    ]
    found = evaluate_logpoints(history, expressions, conditions, limit, when=when)
    columns = ("offset", "key", *expressions)
    rows = (
        dict(
            zip(
                columns,
                [row["offset"], row["key"], *map(output.raw_json, list(row.values())[2:])],
                strict=True,
            )
        )
        for batch in found.rows.to_batches(10_000)
        for row in batch.to_pylist()
    )
    if as_json:
        output.print_json_lines(rows)
    else:
        output.print_table(columns, ([r[c] for c in columns] for r in rows), right=("offset",))
    if not found.rows.num_rows and limit != 0:
        of_type = f" of type {kind!r}" if kind is not None else ""
        matching = " matches the conditions" if where or when else " is in the log"
        progress_display.print_message(f"No event{of_type}{matching}.")


@click.command(epilog=options.example("refold causes orders.jsonl --at 2376"))
@options.workspace_argument
@options.at_option
@options.wait_option
@options.json_option
def causes(ws: str, at: str | None, wait: float, as_json: bool) -> int:
    """Show what led to an event, and its effects.

    refold follows the causation and correlation ids of the events.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    offset = workspace_opener.parse_position(workspace, at)
    found = causing.build_causal_tree(workspace, offset)
    rows = [
        {
            "offset": cause.event.offset,
            "depth": cause.depth,
            "time": cause.event.time,
            "stream": cause.event.stream,
            "type": cause.event.type,
            "id": cause.event.id,
        }
        for cause in found.events
    ]
    if as_json:
        output.print_json_lines(rows)
    else:
        columns = ("offset", "event", "stream", "time")
        output.print_table(
            columns,
            (
                (c.event.offset, "  " * c.depth + (c.event.type or "–"), c.event.stream)
                + (c.event.time,)
                for c in found.events
            ),
            right=("offset",),
        )
    if found.is_truncated:
        progress_display.print_message(
            f"Only the {len(rows):,} events nearest to {offset:,} are shown."
        )
    return 0


def _value_change_rows(history: History, found: Iterator[ValueChange]) -> Iterator[dict[str, Any]]:
    log = EventLog(history.workspace)
    while changes := list(islice(found, _BATCH_ROWS)):
        events = {e.offset: e for e in log.read_events_at([one.offset for one in changes])}
        for change in changes:
            event = events.get(change.offset)
            yield {
                "offset": change.offset,
                "time": event.time if event else None,
                "type": event.type if event else None,
                "id": event.id if event else None,
                "before": RawJson(encode_value(change.before)),
                "after": RawJson(encode_value(change.after)),
                "kind": Difference((), change.before, change.after).kind.value,
            }
