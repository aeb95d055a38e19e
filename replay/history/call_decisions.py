"""The calls of a fold, each with its decision, read from the tables `decisions` and `calls`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway import calls, recording_store
from gateway.calls import AnswerOutcome, Decision
from gateway.recording_store import Recording
from replay.history.fold_reports import FoldReports
from storage.coordinates.offset_set import Offsets
from storage.folds.decision_rows import DecisionRows, ReadRows
from storage.workspace.workspace import Workspace

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


def read_fold_decisions(
    history: FoldReports, *, limit: int | None = None
) -> Iterator[CallDecision]:
    """Yield the calls of a fold in the order of the log, at most `limit`."""
    return _build_decisions(history, _decision_rows(history).iterate_pages(limit))


def read_document_decisions(history: FoldReports, key: str, until: int) -> Iterator[CallDecision]:
    """Yield the calls made for a document, up to and including an offset."""
    pages = _decision_rows(history).iterate_pages_of_document(key, until)
    return _build_decisions(history, pages)


def read_decision_page(history: FoldReports, first: int, count: int) -> list[CallDecision]:
    """Return `count` calls of a fold in the order of the log, from index `first` on."""
    return list(_build_decisions(history, [_decision_rows(history).read_page(first, count)]))


def read_decisions_between(
    history: FoldReports, first: int, last: int
) -> dict[int, list[CallDecision]]:
    """Return the calls of the events from `first` to `last`, by offset."""
    decisions: dict[int, list[CallDecision]] = {}
    pages = _decision_rows(history).iterate_pages_between(first, last)
    for one in _build_decisions(history, pages):
        if one.offset is not None:
            decisions.setdefault(one.offset, []).append(one)
    return decisions


def list_decision_offsets(history: FoldReports, limit: int) -> list[int]:
    """Return the offsets of the first `limit` calls, in the order of `read_decision_page`.

    -1 stands for a call before the first event.
    """
    return _decision_rows(history).read_offsets(limit)


def find_call_offsets(history: FoldReports) -> "Offsets[int]":
    """Return the offsets of all events whose handlers made a call or tried to reach the outside."""
    return history.offsets_in("decisions")


def list_nondeterministic_reads(
    history: FoldReports, limit: int | None = None
) -> list[tuple[int, str]]:
    """Return what handlers read from clocks and random numbers, as (offset, name) pairs."""
    return ReadRows(history.workspace, history.scope).read_all(limit)


def list_nondeterministic_reads_between(
    history: FoldReports, first: int, last: int
) -> dict[int, list[str]]:
    """Return what handlers read from clocks and random numbers from `first` to `last`, by offset."""
    return ReadRows(history.workspace, history.scope).read_between(first, last)


def _decision_rows(history: FoldReports) -> DecisionRows:
    return DecisionRows(history.workspace, history.scope)


def _build_decisions(
    history: FoldReports, pages: Iterable[list[dict[str, Any]]]
) -> Iterator[CallDecision]:
    for page in pages:
        recordings = _load_recordings(history.workspace, page)
        for row in page:
            yield _decision_from_row(row, recordings)


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
        decision = build_recorded_decision(one)
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


def build_recorded_decision(recording: Recording) -> CallDecision:
    """Return a recording with the decision under which it was recorded."""
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
