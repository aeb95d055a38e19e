"""What became of the calls of a fold: each with its decision, from what was kept of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway import assignment, calls, recording_store
from gateway.broker import different, nearest, stub
from gateway.calls import Call, Decision, Kind, Outcome
from gateway.recording_store import Recorded
from gateway.redaction import Redactor
from replay.history.fold_reports import MINE, Reported
from storage.coordinates.offset_set import Offsets
from storage.db.query import rows as rows_of
from storage.errors import QueryError
from storage.log.positions import START
from storage.workspace.workspace import Workspace

_PAGE = 2_000
_ORDER = '"offset", key, ordinal'
_LAST = 1_000_000
"""The place of what is answered by hand, behind all that was recorded of its event."""
_SENT = {"live": "live", "stub": "suppressed", "imported": "recorded"}


@dataclass(frozen=True)
class Decided:
    """A call, or an attempt to get out otherwise, and what became of it."""

    offset: int | None
    """None: before the first event, or of no known event."""
    key: str | None
    port: str
    operation: str
    kind: str
    decision: str
    reason: str
    request: str | None
    """JSON."""
    response: str | None
    """JSON; None where there was none."""
    stack: str | None
    call: int | None
    """The number of the recording that answers it, or is the nearest to it."""

    @property
    def asked(self) -> str:
        """The request in short: of HTTP the address and the body."""
        value = None if self.request is None else calls.readable(self.request.encode(), "json")
        if isinstance(value, dict) and {"method", "url"} <= value.keys():
            body = value.get("body")
            return str(value["url"]) + ("" if body is None else f" {_json(body)}")
        return "" if value is None else str(self.request)

    @property
    def answered(self) -> str | None:
        """The response in short: of HTTP the status and the body; None where there was none."""
        value = None if self.response is None else calls.readable(self.response.encode(), "json")
        if isinstance(value, dict) and {"status", "body"} <= value.keys():
            return f"{value['status']} {_json(value['body'])}"
        return self.response


@dataclass(frozen=True)
class Near:
    """A recording that is like a call that was missed."""

    recorded: Recorded
    differences: list[str]
    """As `request.pair: "EURUSD" → "EURGBP"`."""


def of_fold(history: Reported, *, limit: int | None = None) -> Iterator[Decided]:
    """All calls of a fold in the order of the log."""
    return _found(history, "true", (), limit)


def of_key(history: Reported, key: str, until: int) -> Iterator[Decided]:
    """Those for a document, up to an offset."""
    return _found(history, 'key = ? AND "offset" <= ?', (key, until), None)


def page(history: Reported, first: int, count: int) -> list[Decided]:
    """So many of them from the one of a number on."""
    found = _rows(history, "true", (), count, first)
    return [
        _decided(row, known) for known in [_recordings(history.workspace, found)] for row in found
    ]


def between(history: Reported, first: int, last: int) -> dict[int, list[Decided]]:
    """Those of a stretch of the log, by offset."""
    found: dict[int, list[Decided]] = {}
    for one in _found(history, '"offset" BETWEEN ? AND ?', (first, last), None):
        if one.offset is not None:
            found.setdefault(one.offset, []).append(one)
    return found


def places(history: Reported, limit: int) -> list[int]:
    """The offset of each of the first so many, in the order of `page`; -1: before the first event."""
    with history.workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset" FROM decisions WHERE {MINE} ORDER BY {_ORDER} LIMIT {int(limit)}',
            [history.folded.number, history.folded.timeline],
        ).fetchall()
    return [offset for (offset,) in found]


def offsets(history: Reported) -> "Offsets[int]":
    """Every event that made a call, or tried to get out."""
    return history.offsets_in("decisions")


def reads(history: Reported, limit: int | None = None) -> list[tuple[int, str]]:
    """What handlers read of clocks and random numbers, by offset."""
    bound = "" if limit is None else f" LIMIT {int(limit)}"
    with history.workspace.reading() as connection:
        return connection.execute(
            f'SELECT DISTINCT "offset", read FROM reads WHERE {MINE} ORDER BY ALL{bound}',
            [history.folded.number, history.folded.timeline],
        ).fetchall()


def reads_between(history: Reported, first: int, last: int) -> dict[int, list[str]]:
    """What they read in a stretch of the log, by offset."""
    with history.workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset", list(DISTINCT read ORDER BY read) FROM reads WHERE {MINE}'
            ' AND "offset" BETWEEN ? AND ? GROUP BY "offset"',
            [history.folded.number, history.folded.timeline, first, last],
        ).fetchall()
    return dict(found)


def recorded(workspace: Workspace, limit: int | None = None) -> Iterator[Decided]:
    """All recordings, as what became of them when they were made."""
    for count, one in enumerate(recording_store.all_of(workspace)):
        if limit is not None and count >= limit:
            return
        yield _of_recording(one)


def unassigned(workspace: Workspace) -> list[Decided]:
    """Recordings of which nobody knows the event."""
    return [_of_recording(one) for one in recording_store.all_of(workspace, '"offset" IS NULL')]


def assign(workspace: Workspace, number: str, position: int) -> None:
    """Say by hand which event made an imported call; raises `QueryError` where there is no such."""
    if position == START:
        raise QueryError("At the start there is no event that could have made a call.")
    if not number.isdecimal() or not assignment.by_hand(workspace, int(number), position):
        raise QueryError(f"There is no call {number!r}; `refold calls WS` lists all of them.")


def near(workspace: Workspace, missed: Decided) -> list[Near]:
    """The recordings of a call's event that are most like it, and how they differ."""
    if missed.offset is None or missed.request is None:
        return []
    request = calls.readable(missed.request.encode(), "application/json")
    place = (missed.port, missed.operation, request, missed.offset, None, missed.key)
    call = Call(Kind(missed.kind), *place)
    found = nearest(call, recording_store.at(workspace, missed.offset))
    return [Near(one, different(call, one)) for one in found]


def answer(history: Reported, missed: Decided, text: str) -> None:
    """Answer a call that was missed by hand, for this event and from now on; a JSON text.

    Raises `QueryError` where it is none.
    """
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise QueryError(f"{text!r} is no JSON: {error}.") from error
    with history.workspace.writing() as connection:
        rows = rows_of(connection, 'SELECT id FROM events WHERE "offset" = ?', [missed.offset])
        request = calls.readable((missed.request or "null").encode(), "application/json")
        place = (missed.offset or 0, rows[0]["id"] if rows else None, missed.key)
        call = Call(Kind(missed.kind), missed.port, missed.operation, request, *place)
        made = stub(call, value)
        told = Recorded(call, made, projection=history.folded.name, ordinal=_LAST, origin="stub")
        recording_store.keep(connection, [recording_store.redacted(told, Redactor())])


def _found(
    history: Reported, condition: str, parameters: tuple[Any, ...], limit: int | None
) -> Iterator[Decided]:
    first = 0
    while limit is None or first < limit:
        count = _PAGE if limit is None else min(_PAGE, limit - first)
        found = _rows(history, condition, parameters, count, first)
        known = _recordings(history.workspace, found)
        for row in found:
            yield _decided(row, known)
        if len(found) < count:
            return
        first += count


def _rows(
    history: Reported, condition: str, parameters: tuple[Any, ...], count: int, first: int
) -> list[dict[str, Any]]:
    with history.workspace.reading() as connection:
        return rows_of(
            connection,
            f"SELECT * FROM decisions WHERE {MINE} AND {condition} ORDER BY {_ORDER}"
            f" LIMIT {int(count)} OFFSET {int(first)}",
            [history.folded.number, history.folded.timeline, *parameters],
        )


def _json(value: Any) -> str:
    return calls.canonical(value).decode()


def _recordings(workspace: Workspace, page: list[dict[str, Any]]) -> Mapping[int, Recorded]:
    wanted = {row["call"] for row in page if row["port"] is None}
    if not wanted:
        return {}
    return {
        one.number: one
        for one in recording_store.by_numbers(workspace, wanted)
        if one.number is not None
    }


def _decided(row: Mapping[str, Any], known: Mapping[int, Recorded]) -> Decided:
    offset = row["offset"] if row["offset"] >= 0 else None
    if row["port"] is not None:
        names = (
            "port",
            "operation",
            "kind",
            "decision",
            "reason",
            "request",
            "response",
            "stack",
            "call",
        )
        return Decided(offset, row["key"], **{name: row[name] for name in names})
    one = known.get(row["call"])
    if one is None:  # it was recorded anew, and the fold is yet to be made anew
        gone = "its recording is gone; fold anew"
        answered = Decided(offset, row["key"], "?", "?", "query", "", gone, None, None, None, None)
    else:
        answered = _of_recording(one)
    suppressed = row["decision"] == "suppressed"
    reason = "not sent; answered as then" if suppressed else "answered as then"
    return replace(
        answered,
        offset=offset,
        key=row["key"],
        decision=row["decision"],
        reason=answered.reason if one is None else reason,
    )


def _of_recording(one: Recorded) -> Decided:
    call, origin = one.call, one.origin
    decision = _SENT.get(origin, origin)
    outcome = one.answer.outcome.value
    if one.answer.outcome is Outcome.PENDING:
        decision = Decision.PENDING.value
    reason = {"live": "went out", "stub": "was not sent", "imported": "imported"}.get(
        origin, origin
    )
    if one.answer.outcome is Outcome.PENDING:
        reason = f"it may have been sent, and nobody saw how it ended (call {one.number})"
    elif outcome != "ok":
        reason = f"{reason}: {outcome}"
    return Decided(
        *(one.offset, call.key, call.port, call.operation, call.kind.value, decision, reason),
        *(calls.canonical(call.request).decode(), one.answer.shown, None, one.number),
    )
