"""Queries about a projection, as tables: changes of a value, transitions of a condition, failures.

Each query is a generator that runs in a thread. A long one yields the table several times as it
grows, and can be stopped in between. Raises `QueryError` if there is nothing to show.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from replay.compare.code_edit import CodeEditComparison
from replay.document import paths
from replay.document.diff import find_differences
from replay.document.paths import ABSENT, DocumentPath
from replay.history import call_decisions
from replay.history.call_decisions import CallDecision
from replay.history.history import History
from replay.query import blame, condition_search, invariants
from replay.query.blame import ValueChange
from replay.query.unknown_paths import describe_unknown_paths
from storage.coordinates.offset_set import pack_offsets
from storage.errors import QueryError
from storage.log.event_log import EventSummary
from storage.log.positions import START
from storage.plural import format_count
from tui.results.table import (
    EVENT_COLUMNS,
    MAX_ROWS,
    MAX_TEXT,
    ResultRow,
    ResultTable,
    document_span,
    event_span,
    table_of_rows,
    truncation_note,
    value_text,
)
from tui.state.shown_data import ShownData
from tui.text.sanitize import shorten
from tui.text.span import Span
from tui.text.timestamps import format_full_time

EDIT = "documents changed by the code edit"
"""Title of the table of `documents_changed_by_edit`."""
_MOST_CHANGES = 5_000
_MOST_PATHS = 5
"""Changed paths shown in the row of a whole document."""
_VALUE = 60
"""Columns of a value of a logpoint."""


def value_changes(data: ShownData, key: str | None, path: DocumentPath) -> Iterator[ResultTable]:
    """Return all changes of a value, each with the value before and after."""
    history = _history(data)
    if key is None:
        raise QueryError("No document is selected. Press d, or select one in the list.")
    found = blame.find_value_changes(history, key, path, after=START, until=data.extent.event_count)
    touches = list(islice(found, _MOST_CHANGES + 1))
    what = f"changes of {key} › {paths.format_path(path)}"
    if not touches:
        raise QueryError(f"{key} › {paths.format_path(path)} never changed.")
    events = {e.offset: e for e in data.log.read_events_at([t.offset for t in touches])}
    width = min(max(len(e.type or "–") for e in events.values()), EVENT_COLUMNS)
    rows = [
        ResultRow(
            touch.offset,
            (
                *_place(data, touch.offset, events.get(touch.offset), width),
                *_value_change_spans(touch, whole=not path),
            ),
            key,
            path,
        )
        for touch in touches[:_MOST_CHANGES]
    ]
    yield table_of_rows(what, rows, note=truncation_note(len(touches), _MOST_CHANGES))


def condition_transitions(data: ShownData, text: str) -> Iterator[ResultTable]:
    """Return where a condition became true; with a leading `!`, where it stopped being true."""
    history = _history(data)
    condition = text.removeprefix("!").strip()
    became = not text.startswith("!")
    what = f"{'became true' if became else 'stopped being true'}: {condition}"
    parsed = condition_search.parse_condition(history, condition)
    watch = ("all" if parsed.uses_aggregates else "states", condition)
    at, keys, others = pack_offsets(), list[str | None](), 0
    for stretch in (
        condition_search.find_became_true if became else condition_search.find_became_false
    )(history, parsed):
        others += stretch.mismatched_states
        at.extend(hit.offset for hit in stretch.transitions[: MAX_ROWS - len(at)])
        keys.extend(hit.key for hit in stretch.transitions[: MAX_ROWS - len(keys)])
        done = stretch.last_offset + 1 >= history.fold_record.next_offset or len(at) >= MAX_ROWS
        note = truncation_note(
            len(at) + (0 if done and len(at) < MAX_ROWS else len(at) // MAX_ROWS), MAX_ROWS
        )
        if others:
            note = f"{note} {_mismatch_text(others)}".strip()
        if not done:
            share = stretch.last_offset / max(history.fold_record.next_offset, 1)
            note = f"{share:.0%} · esc stop. {note}".strip()
        if at or not done:
            yield _position_table(
                data, what, (at[:], keys[:]), watch=watch, note=note, going_on=not done
            )
        if len(at) >= MAX_ROWS:
            return
    missing = describe_unknown_paths(history, parsed)
    if not at:
        kinds = f"{_mismatch_text(others)} " if others else ""
        raise QueryError(f"{condition!r} never {what.partition(':')[0]}. {kinds}{missing}".strip())
    if missing:
        yield _position_table(data, what, (at, keys), watch=watch, note=missing, going_on=False)


def _mismatch_text(states: int) -> str:
    """Return the note about states in which the value has another type than the condition expects."""
    return f"In {format_count(states, 'state')} the value has another type (counted as false)."


def invariant_violations(data: ShownData) -> Iterator[ResultTable]:
    """Return where invariants of the projection became violated."""
    history = _history(data)
    if not history.fold_record.invariants:
        raise QueryError(
            f"{history.fold_record.name} declares no INVARIANTS. Press F to find a condition instead."
        )
    troubles: list[str] = []
    found = list(
        islice(invariants.find_violations(history, on_error=troubles.append), MAX_ROWS + 1)
    )
    if not found and troubles:
        raise QueryError(troubles[0])
    if not found:
        raise QueryError(
            f"All {len(history.fold_record.invariants)} invariants of {history.fold_record.name} hold in"
            " every state."
        )
    rows = [
        ResultRow(
            b.offset,
            (
                event_span(data, b.offset),
                document_span(b.key or "all documents"),
                (b.invariant, "failed"),
                (f"  until {b.until:,}" if b.until is not None else "  to the end", "muted"),
                (f"  {shorten(b.error, MAX_TEXT)}" if b.error else "", "was"),
            ),
            b.key,
        )
        for b in found[:MAX_ROWS]
    ]
    note = " ".join([truncation_note(len(found), MAX_ROWS), *troubles]).strip()
    yield table_of_rows("invariant violations", rows, note=note)


def handler_failures(data: ShownData) -> Iterator[ResultTable]:
    """Return the events at which a handler raised."""
    found = _history(data).failures(limit=MAX_ROWS + 1)
    if not found:
        raise QueryError("No handler raised an error.")
    rows = [
        ResultRow(
            f.offset,
            (
                event_span(data, f.offset),
                document_span(f.key or "–"),
                (f"{f.type or '–'}  ", ""),
                (shorten(f.error, MAX_TEXT), "failed"),
            ),
            f.key,
        )
        for f in found[:MAX_ROWS]
    ]
    yield table_of_rows("handler errors", rows, note=truncation_note(len(found), MAX_ROWS))


def outside_calls(data: ShownData) -> Iterator[ResultTable]:
    """Return the outside calls of the handlers, each with the gateway's decision."""
    history = _history(data)
    found = call_decisions.list_decision_offsets(history, MAX_ROWS + 1)
    if not found:
        raise QueryError(f"No handler of {history.fold_record.name} made outside calls.")
    at = pack_offsets(max(offset, 0) for offset in found[:MAX_ROWS])

    def fetch(first: int, count: int) -> Sequence[ResultRow]:
        return [
            _called(data, one) for one in call_decisions.read_decision_page(history, first, count)
        ]

    isolation = _isolation_text(history.fold_record.isolation)
    note = " · ".join(filter(None, [truncation_note(len(found), MAX_ROWS), isolation]))
    yield ResultTable("outside calls", at, fetch, None, note, False, pack_offsets(sorted(set(at))))


def _isolation_text(isolation: str | None) -> str:
    """Return how the worker was sandboxed, short enough for a subtitle; empty without a worker."""
    if isolation is None:
        return ""
    if isolation.startswith("level 1"):
        return "sandboxed (interpreter only)"
    return "sandboxed (kernel, except files)" if "files" in isolation else "sandboxed (kernel)"


def _called(data: ShownData, one: CallDecision) -> ResultRow:
    style = "failed" if one.decision in ("missed", "blocked") else "muted"
    return ResultRow(
        one.offset or 0,
        (
            event_span(data, one.offset or 0),
            document_span(one.key or "–"),
            (f"{one.decision:<11}", style),
            (f"{shorten(f'{one.port} {one.operation}', 40)}  ", ""),
            (f"{shorten(one.short_request, _VALUE)}  " if one.short_request else "", "muted"),
            (
                f"→ {shorten(one.short_response, _VALUE)}" if one.short_response else one.reason,
                "text",
            ),
        ),
        one.key,
    )


def unhandled_types(data: ShownData) -> Iterator[ResultTable]:
    """Return the event types and versions without a handler."""
    found = _history(data).unhandled_events()
    if not found:
        raise QueryError("Every event has a handler.")
    rows = [
        ResultRow(
            u.offset,
            (
                event_span(data, u.offset),
                (f"{shorten(u.type or '–', MAX_TEXT)}  ", ""),
                (f"version {u.version}  " if u.version else "", "muted"),
                (format_count(u.events, "event"), ""),
            ),
        )
        for u in found[:MAX_ROWS]
    ]
    yield table_of_rows(
        "events without a handler", rows, note=truncation_note(len(found), MAX_ROWS)
    )


def logpoint_rows(data: ShownData, text: str) -> Iterator[ResultTable]:
    """Return the values of a logpoint: `RefundIssued: state.refunded, data.amount if data.amount > 100`."""
    from replay.query import logpoints  # noqa: PLC0415 - it imports Arrow, which would delay the first paint

    history = _history(data)
    kind, colon, rest = text.partition(":")
    if not colon or not rest.strip():
        raise QueryError(
            f"Invalid logpoint {text!r}. Write TYPE: EXPRESSION, …, such as RefundIssued: data.amount"
        )
    kept = [] if kind.strip() in ("", "*") else [logpoints.build_type_condition(kind.strip())]
    written, _, when = rest.partition(" if ")
    table = logpoints.evaluate_logpoints(
        history, split_expressions(written), kept, MAX_ROWS, when=when.strip() or None
    ).rows
    if not table.num_rows:
        condition = f" with {when.strip()!r}" if when else ""
        raise QueryError(f"No event of type {kind.strip()!r}{condition}.")

    def fetch(first: int, count: int) -> Sequence[ResultRow]:
        rows = table.slice(first, count).to_pylist()
        return [_logpoint_row(data, row) for row in rows]

    at = pack_offsets(table["offset"].to_pylist())
    note = truncation_note(table.num_rows, MAX_ROWS)
    yield ResultTable(
        f"logpoint {text}", at, fetch, None, note, False, pack_offsets(sorted(set(at)))
    )


def documents_changed_by_edit(data: ShownData, edit: CodeEditComparison) -> ResultTable:
    """Return the documents that a code edit changed, each at its first difference."""
    rows = [
        ResultRow(
            first.offset,
            (event_span(data, first.offset), (first.key, "key")),
            first.key,
            keeps_document=True,
        )
        for first in edit.first_differences
    ]
    note = f"compared up to #{edit.end_offset - 1:,}"
    if edit.differing_documents > len(edit.first_differences):
        note = f"first of {edit.differing_documents:,} · {note}"
    return table_of_rows(EDIT, rows, note=note)


def _history(data: ShownData) -> History:
    if data.history is None:
        raise QueryError("No states without a projection. Start refold with one: -p FILE.")
    return data.history


def _position_table(
    data: ShownData,
    what: str,
    places: tuple[Sequence[int], list[str | None]],
    *,
    watch: tuple[str, str],
    note: str,
    going_on: bool,
) -> ResultTable:
    """Return a table with a row per position, whose events are fetched when they come into view."""
    at, keys = pack_offsets(places[0]), places[1]

    def fetch(first: int, count: int) -> Sequence[ResultRow]:
        wanted = at[first : first + count]
        events = {e.offset: e for e in data.log.read_events_at(list(wanted))}
        return [
            ResultRow(
                offset,
                (*_place(data, offset, events.get(offset)), (key or "all documents", "key")),
                key,
            )
            for offset, key in zip(wanted, keys[first : first + count], strict=True)
        ]

    return ResultTable(what, at, fetch, watch, note, going_on, pack_offsets(sorted(set(at))))


def _place(
    data: ShownData, offset: int, event: EventSummary | None, width: int = EVENT_COLUMNS
) -> tuple[Span, ...]:
    time = format_full_time(event.time) if event and event.time else ""
    kind = (event.type if event else None) or "–"
    return (
        event_span(data, offset),
        (f"{time:<23}  " if time else "", "muted"),
        (f"{shorten(kind, width):<{width}}  ", ""),
    )


def _value_change_spans(touch: ValueChange, *, whole: bool) -> Iterator[Span]:
    """Yield value before and after; for a whole document, of each changed path."""
    if not whole or ABSENT in (touch.before, touch.after):
        yield from _step(touch.before, touch.after)
        return
    changed = find_differences(touch.before, touch.after)
    for number, one in enumerate(changed[:_MOST_PATHS]):
        yield f"{'   ' if number else ''}{one.path_text} ", "key"
        yield from _step(one.before, one.after)
    if len(changed) > _MOST_PATHS:
        yield f"   and {len(changed) - _MOST_PATHS:,} more", "muted"


def _step(before: object, after: object) -> tuple[Span, ...]:
    return (value_text(before), "was"), (" → ", "muted"), (value_text(after), "text")


def _logpoint_row(data: ShownData, row: dict[str, Any]) -> ResultRow:
    """Return a row of values, in the order of the expressions in the table's title."""
    values = [text for name, text in row.items() if name not in ("offset", "key")]
    cells = [("–" if text is None else shorten(text, _VALUE)) for text in values]
    place = (event_span(data, row["offset"]), document_span(row["key"]))
    spans = [(f"{cell:<16}  ", "text") for cell in cells]
    return ResultRow(row["offset"], (*place, *spans), row["key"])


def split_expressions(text: str) -> list[str]:
    """Split at commas, except those in parentheses, brackets and quotes."""
    parts, depth, quoted = [""], 0, ""
    for character in text:
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "'\"":
            quoted = character
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0) if not quoted else 0
        if character == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
