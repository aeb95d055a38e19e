"""The journal: one JSON line a call, which a program in any language writes while it runs.

`docs/gateway.md` documents it. A line has `port`, `operation` and `request` (or, of an HTTP call,
`method`, `url`, `headers` and `body`), and `response` or `error`; and, as far as is known, the event
that caused the call: `event_id` or `offset`, `correlation_id`, `time`.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import calls, http_encoding
from gateway.calls import Answer, Call, Kind, Outcome
from gateway.ports import Ports, kind_of_method
from gateway.recording_store import Recorded
from storage.errors import SourceError

_OFFSET = "offset"


class _Response(msgspec.Struct):
    """Of an HTTP call."""

    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None


class _Line(msgspec.Struct):
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


_decoder = msgspec.json.Decoder(_Line)


def read(lines: Iterable[bytes], ports: Ports, origin: str) -> Iterator[Recorded]:
    """The calls of a journal; raises `SourceError` that names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recorded = _recorded(_decoder.decode(line), ports)
        except (msgspec.DecodeError, *http_encoding.UNREADABLE) as error:
            what = "nested too deep" if isinstance(error, RecursionError) else str(error)
            raise SourceError(f"{origin}, line {number}: this is no call: {what}.") from error
        yield recorded


def write(found: Iterable[Recorded]) -> Iterator[bytes]:
    """Lines that `read` reads."""
    for one in found:
        yield json.dumps(_line(one), ensure_ascii=False).encode() + b"\n"


def _recorded(said: _Line, ports: Ports) -> Recorded:
    time = None if said.time is None else datetime.fromisoformat(said.time)
    if time is not None and time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Recorded(
        _call(said, ports),
        _answer(said),
        projection=None,
        attempts=said.attempts or 1,
        time=time,
        correlation_id=said.correlation_id,
        idempotency_key=said.idempotency_key,
        origin="imported",
    )


def _call(said: _Line, ports: Ports) -> Call:
    if said.offset is not None and said.offset < 0:
        raise ValueError(f"there is no offset {said.offset}")
    if said.kind not in (None, "query", "command"):
        raise ValueError(f"its kind is {said.kind!r}, which is neither query nor command")
    place = (-1 if said.offset is None else said.offset, said.event_id, said.key)
    if said.url is not None:
        method = said.method or "GET"
        headers = list(said.headers.items())
        media = next((v for n, v in headers if n.lower() == "content-type"), "application/json")
        port = said.port or ports.of_url(said.url)
        operation = calls.http_operation(method, said.url)
        kind = kind_of_method(method) if said.kind is None else Kind(said.kind)
        body = calls.written(said.body, media)
        request = calls.http_request(method, said.url, headers, body)
        kind = ports.kind(port, operation, kind)
        return Call(kind, port, operation, request, *place, headers=headers)
    if said.port is None or said.operation is None:
        raise ValueError("it has neither `port` and `operation`, nor `method` and `url`")
    kind = ports.kind(said.port, said.operation, Kind(said.kind or "query"))
    return Call(kind, said.port, said.operation, said.request, *place)


def _answer(said: _Line) -> Answer:
    latency = said.latency or 0.0
    if said.error is not None or said.outcome not in (None, "ok"):
        outcome = Outcome(said.outcome or "error")
        return Answer.failed(said.error or outcome.value, outcome, latency)
    raw = bytes(said.response)
    if not raw:
        raise ValueError("it has neither `response` nor `error`")
    if said.url is None:
        return Answer(body=raw or b"null", latency=latency)
    response = msgspec.json.decode(raw, type=_Response) if raw else _Response()
    headers = list(response.headers.items())
    media = next((v for n, v in headers if n.lower() == "content-type"), "application/json")
    body = calls.written(response.body, media)
    return Answer(Outcome.OK, response.status, headers, body, media, latency=latency)


def _line(one: Recorded) -> dict[str, Any]:
    call, answer = one.call, one.answer
    line: dict[str, Any] = {
        _OFFSET: one.offset,
        "event_id": call.event_id,
        "key": call.key,
        "projection": one.projection,
        "kind": call.kind.value,
        "port": call.port,
        "operation": call.operation,
    }
    if call.is_http:
        line |= {name: call.request.get(name) for name in ("method", "url", "headers", "body")}
    else:
        line["request"] = call.request
    if answer.outcome is Outcome.OK:
        line["response"] = answer.value
    else:
        line |= {"outcome": answer.outcome.value, "error": answer.error}
    line |= {
        "time": None if one.time is None else one.time.isoformat().replace("+00:00", "Z"),
        "latency": answer.latency or None,
        "attempts": None if one.attempts == 1 else one.attempts,
        "correlation_id": one.correlation_id,
        "idempotency_key": one.idempotency_key,
        "origin": one.origin,
    }
    return {name: value for name, value in line.items() if value is not None or name == "response"}
