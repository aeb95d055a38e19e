"""The journal: one JSON line per call, which a program in any language can write while it runs.

`docs/gateway.md` documents it. A line has `port`, `operation` and `request` (or, for an HTTP call,
`method`, `url`, `headers` and `body`), and `response` or `error`; and, if known, the event that caused
the call: `event_id` or `offset`, `correlation_id`, `time`.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import calls, http_encoding
from gateway.calls import Answer, AnswerOutcome, Call, CallKind
from gateway.ports import PortSet, classify_http_method
from gateway.recording_store import Recording
from storage.errors import SourceError

_OFFSET = "offset"


class _JournalResponse(msgspec.Struct):
    """The response of an HTTP call."""

    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None


class _JournalLine(msgspec.Struct):
    port: str | None = None
    operation: str | None = None
    request: Any = None
    method: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    body: Any = None
    response: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    outcome: str | None = None
    kind: str | None = None
    event_id: str | None = None
    offset: int | None = None
    key: str | None = None
    projection: str | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    time: str | None = None
    latency: float | None = None
    attempts: int | None = None
    origin: str | None = None


_decoder = msgspec.json.Decoder(_JournalLine)


def read_journal(lines: Iterable[bytes], ports: PortSet, origin: str) -> Iterator[Recording]:
    """The calls of a journal; raises `SourceError` with the number of the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recorded = _line_to_recording(_decoder.decode(line), ports)
        except (msgspec.DecodeError, *http_encoding.UNREADABLE) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
            raise SourceError(f"{origin}, line {number}: invalid call: {reason}.") from error
        yield recorded


def write_journal(recordings: Iterable[Recording]) -> Iterator[bytes]:
    """Lines that `read_journal` reads."""
    for one in recordings:
        yield json.dumps(_recording_to_line(one), ensure_ascii=False).encode() + b"\n"


def _line_to_recording(journal_line: _JournalLine, ports: PortSet) -> Recording:
    time = None if journal_line.time is None else datetime.fromisoformat(journal_line.time)
    if time is not None and time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Recording(
        _line_to_call(journal_line, ports),
        _line_to_answer(journal_line),
        projection=None,
        attempts=journal_line.attempts or 1,
        time=time,
        correlation_id=journal_line.correlation_id,
        idempotency_key=journal_line.idempotency_key,
        origin="imported",
    )


def _line_to_call(journal_line: _JournalLine, ports: PortSet) -> Call:
    if journal_line.offset is not None and journal_line.offset < 0:
        raise ValueError(f"`offset` must be 0 or more, got {journal_line.offset}")
    if journal_line.kind not in (None, "query", "command"):
        raise ValueError(f"`kind` must be query or command, got {journal_line.kind!r}")
    event_fields = (
        -1 if journal_line.offset is None else journal_line.offset,
        journal_line.event_id,
        journal_line.key,
    )
    if journal_line.url is not None:
        method = journal_line.method or "GET"
        headers = list(journal_line.headers.items())
        media_type = next(
            (v for n, v in headers if n.lower() == "content-type"), "application/json"
        )
        port = journal_line.port or ports.find_port_of_url(journal_line.url)
        operation = calls.format_http_operation(method, journal_line.url)
        kind = (
            classify_http_method(method)
            if journal_line.kind is None
            else CallKind(journal_line.kind)
        )
        body = calls.encode_body(journal_line.body, media_type)
        request = calls.build_http_request(method, journal_line.url, headers, body)
        kind = ports.resolve_kind(port, operation, kind)
        return Call(kind, port, operation, request, *event_fields, headers=headers)
    if journal_line.port is None or journal_line.operation is None:
        raise ValueError("it has neither `port` and `operation`, nor `method` and `url`")
    kind = ports.resolve_kind(
        journal_line.port, journal_line.operation, CallKind(journal_line.kind or "query")
    )
    return Call(
        kind, journal_line.port, journal_line.operation, journal_line.request, *event_fields
    )


def _line_to_answer(journal_line: _JournalLine) -> Answer:
    latency = journal_line.latency or 0.0
    if journal_line.error is not None or journal_line.outcome not in (None, "ok"):
        outcome = AnswerOutcome(journal_line.outcome or "error")
        return Answer.from_error(journal_line.error or outcome.value, outcome, latency)
    raw = bytes(journal_line.response)
    if not raw:
        raise ValueError("it has neither `response` nor `error`")
    if journal_line.url is None:
        return Answer(body=raw or b"null", latency=latency)
    response = msgspec.json.decode(raw, type=_JournalResponse) if raw else _JournalResponse()
    headers = list(response.headers.items())
    media_type = next((v for n, v in headers if n.lower() == "content-type"), "application/json")
    body = calls.encode_body(response.body, media_type)
    return Answer(AnswerOutcome.OK, response.status, headers, body, media_type, latency=latency)


def _recording_to_line(recording: Recording) -> dict[str, Any]:
    call, answer = recording.call, recording.answer
    line: dict[str, Any] = {
        _OFFSET: recording.offset,
        "event_id": call.event_id,
        "key": call.key,
        "projection": recording.projection,
        "kind": call.kind.value,
        "port": call.port,
        "operation": call.operation,
    }
    if call.is_http:
        line |= {name: call.request.get(name) for name in ("method", "url", "headers", "body")}
    else:
        line["request"] = call.request
    if answer.outcome is AnswerOutcome.OK:
        line["response"] = answer.value
    else:
        line |= {"outcome": answer.outcome.value, "error": answer.error}
    line |= {
        "time": None
        if recording.time is None
        else recording.time.isoformat().replace("+00:00", "Z"),
        "latency": answer.latency or None,
        "attempts": None if recording.attempts == 1 else recording.attempts,
        "correlation_id": recording.correlation_id,
        "idempotency_key": recording.idempotency_key,
        "origin": recording.origin,
    }
    return {name: value for name, value in line.items() if value is not None or name == "response"}
