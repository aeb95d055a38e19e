"""The calls of a fold, each with its decision, read from the tables `decisions` and `calls`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway import call_assignment, calls, recording_store
from gateway.call_answers import make_stub_answer
from gateway.calls import AnswerOutcome, Call, CallKind, Decision
from gateway.recording_store import Recording
from gateway.redaction import Redactor
from gateway.similar_recordings import describe_differences, rank_by_likeness
from replay.history.fold_reports import FOLD_CONDITION, FoldReports
from storage.coordinates.offset_set import Offsets
from storage.db.query import fetch_rows
from storage.errors import QueryError
from storage.log.positions import START
from storage.workspace.workspace import Workspace

_PAGE_ROWS = 2_000
_LOG_ORDER = '"offset", key, ordinal'
_MANUAL_ORDINAL = 1_000_000
"""The ordinal of answers given by hand; it sorts after all recordings of the event."""
_DECISION_BY_ORIGIN = {"live": "live", "stub": "suppressed", "imported": "recorded"}


@dataclass(frozen=True)
class CallDecision:
    """A call, or a blocked attempt to reach the outside without one, and its decision."""

    offset: int | None
    """The event that made the call; None: before the first event, or the event is unknown."""
    key: str | None
    port: str
    operation: str
    kind: str
    decision: str
    reason: str
    request: str | None
    """JSON."""
    response: str | None
    """JSON; None if there was no response."""
    stack: str | None
    call: int | None
    """The number of the recording that answers the call, or that is most like it."""

    @property
    def short_request(self) -> str:
        """The request in short; for HTTP its URL and body."""
        value = None if self.request is None else calls.decode_body(self.request.encode(), "json")
        if isinstance(value, dict) and {"method", "url"} <= value.keys():
            body = value.get("body")
            return str(value["url"]) + ("" if body is None else f" {_canonical_json(body)}")
        return "" if value is None else str(self.request)

    @property
    def short_response(self) -> str | None:
        """The response in short; for HTTP its status and body; None if there was no response."""
        value = None if self.response is None else calls.decode_body(self.response.encode(), "json")
        if isinstance(value, dict) and {"status", "body"} <= value.keys():
            return f"{value['status']} {_canonical_json(value['body'])}"
        return self.response


@dataclass(frozen=True)
class SimilarRecording:
    """A recording that resembles a missed call."""

    recording: Recording
    differences: list[str]
    """Such as `request.pair: "EURUSD" → "EURGBP"`."""


def read_fold_decisions(
    history: FoldReports, *, limit: int | None = None
) -> Iterator[CallDecision]:
    """Yield the calls of a fold in the order of the log, at most `limit`."""
    return _iterate_decisions(history, "true", (), limit)


def read_document_decisions(history: FoldReports, key: str, until: int) -> Iterator[CallDecision]:
    """Yield the calls made for a document, up to and including an offset."""
    return _iterate_decisions(history, 'key = ? AND "offset" <= ?', (key, until), None)


def read_decision_page(history: FoldReports, first: int, count: int) -> list[CallDecision]:
    """Return `count` calls of a fold in the order of the log, from index `first` on."""
    rows = _load_decision_rows(history, "true", (), count, first)
    recordings = _load_recordings(history.workspace, rows)
    return [_decision_from_row(row, recordings) for row in rows]


def read_decisions_between(
    history: FoldReports, first: int, last: int
) -> dict[int, list[CallDecision]]:
    """Return the calls of the events from `first` to `last`, by offset."""
    decisions: dict[int, list[CallDecision]] = {}
    for one in _iterate_decisions(history, '"offset" BETWEEN ? AND ?', (first, last), None):
        if one.offset is not None:
            decisions.setdefault(one.offset, []).append(one)
    return decisions


def list_decision_offsets(history: FoldReports, limit: int) -> list[int]:
    """Return the offsets of the first `limit` calls, in the order of `read_decision_page`.

    -1 stands for a call before the first event.
    """
    with history.workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset" FROM decisions WHERE {FOLD_CONDITION} ORDER BY {_LOG_ORDER} LIMIT {int(limit)}',
            [history.fold_record.projection_number, history.fold_record.timeline],
        ).fetchall()
    return [offset for (offset,) in found]


def find_call_offsets(history: FoldReports) -> "Offsets[int]":
    """Return the offsets of all events whose handlers made a call or tried to reach the outside."""
    return history.offsets_in("decisions")


def list_nondeterministic_reads(
    history: FoldReports, limit: int | None = None
) -> list[tuple[int, str]]:
    """Return what handlers read from clocks and random numbers, as (offset, name) pairs."""
    bound = "" if limit is None else f" LIMIT {int(limit)}"
    with history.workspace.reading() as connection:
        return connection.execute(
            f'SELECT DISTINCT "offset", read FROM reads WHERE {FOLD_CONDITION} ORDER BY ALL{bound}',
            [history.fold_record.projection_number, history.fold_record.timeline],
        ).fetchall()


def list_nondeterministic_reads_between(
    history: FoldReports, first: int, last: int
) -> dict[int, list[str]]:
    """Return what handlers read from clocks and random numbers from `first` to `last`, by offset."""
    with history.workspace.reading() as connection:
        found = connection.execute(
            f'SELECT "offset", list(DISTINCT read ORDER BY read) FROM reads WHERE {FOLD_CONDITION}'
            ' AND "offset" BETWEEN ? AND ? GROUP BY "offset"',
            [history.fold_record.projection_number, history.fold_record.timeline, first, last],
        ).fetchall()
    return dict(found)


def list_recordings(workspace: Workspace, limit: int | None = None) -> Iterator[CallDecision]:
    """Yield all recordings, each with the decision under which it was recorded."""
    for count, one in enumerate(recording_store.iterate_recordings(workspace)):
        if limit is not None and count >= limit:
            return
        yield _decision_from_recording(one)


def list_unassigned_recordings(workspace: Workspace) -> list[CallDecision]:
    """Return the recordings that are not assigned to an event."""
    return [
        _decision_from_recording(one)
        for one in recording_store.iterate_recordings(workspace, '"offset" IS NULL')
    ]


def assign_recording(workspace: Workspace, call_number: str, position: int) -> None:
    """Assign an imported call to the event that made it.

    Raises `QueryError` if there is no such call, or if `position` is the start.
    """
    if position == START:
        raise QueryError(
            "The start is no event, so it can't make a call. Give an event's position."
        )
    if not call_number.isdecimal() or not call_assignment.assign_manually(
        workspace, int(call_number), position
    ):
        raise QueryError(
            f"There is no call {call_number!r}. List all calls with `refold calls WS`."
        )


def find_similar_recordings(
    workspace: Workspace, missed_call: CallDecision
) -> list[SimilarRecording]:
    """Return the recordings of a call's event, the most similar first, and how they differ."""
    if missed_call.offset is None or missed_call.request is None:
        return []
    request = calls.decode_body(missed_call.request.encode(), "application/json")
    call_origin = (
        missed_call.port,
        missed_call.operation,
        request,
        missed_call.offset,
        None,
        missed_call.key,
    )
    call = Call(CallKind(missed_call.kind), *call_origin)
    found = rank_by_likeness(
        call, recording_store.read_event_recordings(workspace, missed_call.offset)
    )
    return [SimilarRecording(one, describe_differences(call, one)) for one in found]


def answer_missed_call(history: FoldReports, missed_call: CallDecision, text: str) -> None:
    """Store an answer for a missed call; from now on the call of this event gets it.

    `text` is the answer as JSON. Raises `QueryError` if it isn't valid JSON.
    """
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise QueryError(f"{text!r} is not valid JSON: {error}.") from error
    with history.workspace.writing() as connection:
        rows = fetch_rows(
            connection, 'SELECT id FROM events WHERE "offset" = ?', [missed_call.offset]
        )
        request = calls.decode_body((missed_call.request or "null").encode(), "application/json")
        call_origin = (missed_call.offset or 0, rows[0]["id"] if rows else None, missed_call.key)
        call = Call(
            CallKind(missed_call.kind),
            missed_call.port,
            missed_call.operation,
            request,
            *call_origin,
        )
        call_answer = make_stub_answer(call, value)
        recording = Recording(
            call,
            call_answer,
            projection=history.fold_record.name,
            ordinal=_MANUAL_ORDINAL,
            origin="stub",
        )
        recording_store.insert_recordings(
            connection, [recording_store.redact_recording(recording, Redactor())]
        )


def _iterate_decisions(
    history: FoldReports, condition: str, parameters: tuple[Any, ...], limit: int | None
) -> Iterator[CallDecision]:
    first = 0
    while limit is None or first < limit:
        count = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - first)
        found = _load_decision_rows(history, condition, parameters, count, first)
        recordings = _load_recordings(history.workspace, found)
        for row in found:
            yield _decision_from_row(row, recordings)
        if len(found) < count:
            return
        first += count


def _load_decision_rows(
    history: FoldReports, condition: str, parameters: tuple[Any, ...], count: int, first: int
) -> list[dict[str, Any]]:
    with history.workspace.reading() as connection:
        return fetch_rows(
            connection,
            f"SELECT * FROM decisions WHERE {FOLD_CONDITION} AND {condition} ORDER BY {_LOG_ORDER}"
            f" LIMIT {int(count)} OFFSET {int(first)}",
            [history.fold_record.projection_number, history.fold_record.timeline, *parameters],
        )


def _canonical_json(value: Any) -> str:
    return calls.encode_canonical(value).decode()


def _load_recordings(workspace: Workspace, page: list[dict[str, Any]]) -> Mapping[int, Recording]:
    call_numbers = {row["call"] for row in page if row["port"] is None}
    if not call_numbers:
        return {}
    return {
        one.recording_number: one
        for one in recording_store.read_by_numbers(workspace, call_numbers)
        if one.recording_number is not None
    }


def _decision_from_row(row: Mapping[str, Any], recordings: Mapping[int, Recording]) -> CallDecision:
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
        return CallDecision(offset, row["key"], **{name: row[name] for name in names})
    one = recordings.get(row["call"])
    if one is None:  # the call was recorded again, and the projection not folded again since
        missing = "its recording is gone; fold again with refold replay"
        decision = CallDecision(
            offset, row["key"], "?", "?", "query", "", missing, None, None, None, None
        )
    else:
        decision = _decision_from_recording(one)
    suppressed = row["decision"] == "suppressed"
    reason = (
        "not sent; answered from the recording" if suppressed else "answered from the recording"
    )
    return replace(
        decision,
        offset=offset,
        key=row["key"],
        decision=row["decision"],
        reason=decision.reason if one is None else reason,
    )


def _decision_from_recording(recording: Recording) -> CallDecision:
    call, origin = recording.call, recording.origin
    decision = _DECISION_BY_ORIGIN.get(origin, origin)
    outcome = recording.answer.outcome.value
    if recording.answer.outcome is AnswerOutcome.PENDING:
        decision = Decision.PENDING.value
    reason = {"live": "went out", "stub": "was not sent", "imported": "imported"}.get(
        origin, origin
    )
    if recording.answer.outcome is AnswerOutcome.PENDING:
        reason = (
            f"it may have been sent; its outcome is unknown (call {recording.recording_number})"
        )
    elif outcome != "ok":
        reason = f"{reason}: {outcome}"
    return CallDecision(
        *(recording.offset, call.key, call.port, call.operation, call.kind.value, decision, reason),
        *(
            calls.encode_canonical(call.request).decode(),
            recording.answer.value_json,
            None,
            recording.recording_number,
        ),
    )
