"""Questions about a projection, as tables: who changed this, when did it become so, what is broken.

Each is asked in a thread. One that takes long gives the table as far as it is, several times, and
can be left in between. Errors say in one sentence what is wrong with what was typed.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from replay.compare.code_edit import Edit
from replay.document import paths
from replay.document.diff import differences
from replay.document.paths import ABSENT, Path
from replay.history import call_decisions
from replay.history.call_decisions import Decided
from replay.history.history import History
from replay.query import blame, condition_search, invariants
from replay.query.blame import Touch
from replay.query.unknown_paths import nowhere
from storage.coordinates.offset_set import offsets
from storage.errors import QueryError
from storage.log.event_log import EventRow
from storage.log.positions import START
from storage.plural import counted
from tui.results.table import (
    LONGEST,
    MOST,
    NAME,
    Finding,
    Findings,
    at_event,
    cut_note,
    listed,
    of_document,
    shown,
)
from tui.state.session import Model
from tui.text.sanitize import shortened
from tui.text.span import Span
from tui.text.timestamps import full

EDIT = "changed by the edit"
"""What the table of `changed_by` is called."""
_MOST_CHANGES = 5_000
_MOST_PATHS = 5
"""Changed paths that a row of a whole document tells."""
_VALUE = 60
"""Columns of a value that a logpoint wrote."""


def changes_of(model: Model, key: str | None, path: Path) -> Iterator[Findings]:
    """Who changed this value, ever: each change with what it was before and after."""
    history = _history(model)
    if key is None:
        raise QueryError("Select a document first; then ask who changed it.")
    found = blame.touches(history, key, path, after=START, until=model.extent.events)
    touches = list(islice(found, _MOST_CHANGES + 1))
    what = f"who changed {key} › {paths.write(path)}"
    if not touches:
        raise QueryError(f"Nothing ever changed {paths.write(path)} of {key}.")
    events = {e.offset: e for e in model.log.rows_at([t.offset for t in touches])}
    width = min(max(len(e.type or "–") for e in events.values()), NAME)
    rows = [
        Finding(
            touch.offset,
            (
                *_place(model, touch.offset, events.get(touch.offset), width),
                *_became(touch, whole=not path),
            ),
            key,
            path,
        )
        for touch in touches[:_MOST_CHANGES]
    ]
    yield listed(what, rows, note=cut_note(len(touches), _MOST_CHANGES))


def when(model: Model, text: str) -> Iterator[Findings]:
    """When a condition became true; one that begins with `!`: when it stopped being so."""
    history = _history(model)
    condition = text.removeprefix("!").strip()
    became = not text.startswith("!")
    what = f"{'became true' if became else 'stopped being true'}: {condition}"
    watch = ("all" if condition_search.over_all(history, condition) else "states", condition)
    at, keys, others = offsets(), list[str | None](), 0
    for stretch in (condition_search.began if became else condition_search.ended)(
        history, condition
    ):
        others += stretch.others
        at.extend(hit.offset for hit in stretch.hits[: MOST - len(at)])
        keys.extend(hit.key for hit in stretch.hits[: MOST - len(keys)])
        done = stretch.until + 1 >= history.folded.folded or len(at) >= MOST
        note = cut_note(len(at) + (0 if done and len(at) < MOST else len(at) // MOST), MOST)
        if others:
            note = f"{note} {others:,} states hold a value of another kind.".strip()
        if not done:
            note = f"{stretch.until / max(history.folded.folded, 1):.0%}, esc stops. {note}".strip()
        if at or not done:
            yield _of_places(
                model, what, (at[:], keys[:]), watch=watch, note=note, going_on=not done
            )
        if len(at) >= MOST:
            return
    missing = nowhere(history, condition)
    if not at:
        kinds = f"{others:,} states hold a value of another kind. " if others else ""
        raise QueryError(f"{condition!r} never {what.partition(':')[0]}. {kinds}{missing}".strip())
    if missing:
        yield _of_places(model, what, (at, keys), watch=watch, note=missing, going_on=False)


def broken(model: Model) -> Iterator[Findings]:
    """Where the projection's invariants became broken."""
    history = _history(model)
    if not history.folded.invariants:
        raise QueryError(
            f"{history.folded.name} declares no INVARIANTS; press F to ask for a condition."
        )
    troubles: list[str] = []
    found = list(islice(invariants.broken(history, on_trouble=troubles.append), MOST + 1))
    if not found and troubles:
        raise QueryError(troubles[0])
    if not found:
        raise QueryError(
            f"All {len(history.folded.invariants)} invariants of {history.folded.name} hold in"
            " every state."
        )
    rows = [
        Finding(
            b.offset,
            (
                at_event(model, b.offset),
                of_document(b.key or "all documents"),
                (b.invariant, "failed"),
                (f"  until {b.until:,}" if b.until is not None else "  to the end", "muted"),
                (f"  {shortened(b.error, LONGEST)}" if b.error else "", "was"),
            ),
            b.key,
        )
        for b in found[:MOST]
    ]
    note = " ".join([cut_note(len(found), MOST), *troubles]).strip()
    yield listed("broken invariants", rows, note=note)


def failures(model: Model) -> Iterator[Findings]:
    """Where a handler raised."""
    found = _history(model).failures(limit=MOST + 1)
    if not found:
        raise QueryError("No handler raised.")
    rows = [
        Finding(
            f.offset,
            (
                at_event(model, f.offset),
                of_document(f.key or "–"),
                (f"{f.type or '–'}  ", ""),
                (shortened(f.error, LONGEST), "failed"),
            ),
            f.key,
        )
        for f in found[:MOST]
    ]
    yield listed("handlers that raised", rows, note=cut_note(len(found), MOST))


def calls(model: Model) -> Iterator[Findings]:
    """What handlers asked of the outside, and what became of it."""
    history = _history(model)
    found = call_decisions.places(history, MOST + 1)
    if not found:
        raise QueryError(f"No handler of {history.folded.name} called the outside.")
    at = offsets(max(offset, 0) for offset in found[:MOST])

    def fetch(first: int, count: int) -> Sequence[Finding]:
        return [_called(model, one) for one in call_decisions.page(history, first, count)]

    room = history.folded.room
    note = " · ".join(filter(None, [cut_note(len(found), MOST), room and f"shut in at {room}"]))
    yield Findings("calls", at, fetch, None, note, False, offsets(sorted(set(at))))


def _called(model: Model, one: Decided) -> Finding:
    style = "failed" if one.decision in ("missed", "blocked") else "muted"
    return Finding(
        one.offset or 0,
        (
            at_event(model, one.offset or 0),
            of_document(one.key or "–"),
            (f"{one.decision:<11}", style),
            (f"{shortened(f'{one.port} {one.operation}', 40)}  ", ""),
            (f"{shortened(one.asked, _VALUE)}  " if one.asked else "", "muted"),
            (f"→ {shortened(one.answered, _VALUE)}" if one.answered else one.reason, "text"),
        ),
        one.key,
    )


def unhandled(model: Model) -> Iterator[Findings]:
    """Types and versions of events that the projection has no handler for."""
    found = _history(model).unhandled()
    if not found:
        raise QueryError("Every event has a handler.")
    rows = [
        Finding(
            u.offset,
            (
                at_event(model, u.offset),
                (f"{shortened(u.type or '–', LONGEST)}  ", ""),
                (f"version {u.version}  " if u.version else "", "muted"),
                (counted(u.events, "event"), ""),
            ),
        )
        for u in found[:MOST]
    ]
    yield listed("events without a handler", rows, note=cut_note(len(found), MOST))


def logged(model: Model, text: str) -> Iterator[Findings]:
    """A logpoint: `RefundIssued: state.refunded, data.amount if data.amount > 100`."""
    from replay.query import logpoints  # noqa: PLC0415 - it imports Arrow, and the first paint needn't

    history = _history(model)
    kind, colon, rest = text.partition(":")
    if not colon or not rest.strip():
        raise QueryError(
            f"{text!r} is no logpoint; write one as RefundIssued: state.refunded, data.amount"
        )
    kept = [] if kind.strip() in ("", "*") else [logpoints.at_type(kind.strip())]
    written, _, when = rest.partition(" if ")
    table = logpoints.logged(
        history, separated(written), kept, MOST, when=when.strip() or None
    ).rows
    if not table.num_rows:
        held = f" for which {when.strip()!r} holds" if when else ""
        raise QueryError(f"There is no event of the type {kind.strip()!r}{held}.")

    def fetch(first: int, count: int) -> Sequence[Finding]:
        rows = table.slice(first, count).to_pylist()
        return [_logged_row(model, row) for row in rows]

    at = offsets(table["offset"].to_pylist())
    note = cut_note(table.num_rows, MOST)
    yield Findings(f"log {text}", at, fetch, None, note, False, offsets(sorted(set(at))))


def changed_by(model: Model, edit: Edit) -> Findings:
    """The documents that an edit of the code changed, each where it did so first."""
    rows = [
        Finding(
            first.offset,
            (at_event(model, first.offset), (first.key, "key")),
            first.key,
            pinned=True,
        )
        for first in edit.firsts
    ]
    note = f"compared up to #{edit.until - 1:,}"
    if edit.documents > len(edit.firsts):
        note = f"the first of {edit.documents:,} · {note}"
    return listed(EDIT, rows, note=note)


def _history(model: Model) -> History:
    if model.history is None:
        raise QueryError("There are no states without a projection; name one with -p.")
    return model.history


def _of_places(
    model: Model,
    what: str,
    places: tuple[Sequence[int], list[str | None]],
    *,
    watch: tuple[str, str],
    note: str,
    going_on: bool,
) -> Findings:
    """Rows that say what happened at a place."""
    at, keys = offsets(places[0]), places[1]

    def fetch(first: int, count: int) -> Sequence[Finding]:
        wanted = at[first : first + count]
        events = {e.offset: e for e in model.log.rows_at(list(wanted))}
        return [
            Finding(
                offset,
                (*_place(model, offset, events.get(offset)), (key or "all documents", "key")),
                key,
            )
            for offset, key in zip(wanted, keys[first : first + count], strict=True)
        ]

    return Findings(what, at, fetch, watch, note, going_on, offsets(sorted(set(at))))


def _place(
    model: Model, offset: int, event: EventRow | None, width: int = NAME
) -> tuple[Span, ...]:
    time = full(event.time) if event and event.time else ""
    kind = (event.type if event else None) or "–"
    return (
        at_event(model, offset),
        (f"{time:<23}  " if time else "", "muted"),
        (f"{shortened(kind, width):<{width}}  ", ""),
    )


def _became(touch: Touch, *, whole: bool) -> Iterator[Span]:
    """What a change did to a value; to a whole document: to which paths of it."""
    if not whole or ABSENT in (touch.before, touch.after):
        yield from _step(touch.before, touch.after)
        return
    changed = differences(touch.before, touch.after)
    for number, one in enumerate(changed[:_MOST_PATHS]):
        yield f"{'   ' if number else ''}{one.written} ", "key"
        yield from _step(one.before, one.after)
    if len(changed) > _MOST_PATHS:
        yield f"   and {len(changed) - _MOST_PATHS:,} more", "muted"


def _step(before: object, after: object) -> tuple[Span, ...]:
    return (shown(before), "was"), (" → ", "muted"), (shown(after), "text")


def _logged_row(model: Model, row: dict[str, Any]) -> Finding:
    """The values in the order of the expressions, which the table's title names."""
    values = [text for name, text in row.items() if name not in ("offset", "key")]
    cells = [("–" if text is None else shortened(text, _VALUE)) for text in values]
    place = (at_event(model, row["offset"]), of_document(row["key"]))
    spans = [(f"{cell:<16}  ", "text") for cell in cells]
    return Finding(row["offset"], (*place, *spans), row["key"])


def separated(text: str) -> list[str]:
    """Expressions between commas, but for the commas in parentheses and quotes."""
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
