"""HAR 1.2, what browsers and proxies record (http://www.softwareishard.com/blog/har-12-spec/)."""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import calls, http_encoding
from gateway.calls import Answer, Call, Outcome
from gateway.ports import Ports, kind_of_method
from gateway.recording_store import Recorded
from storage.errors import SourceError, one_line


class _Pair(msgspec.Struct):
    name: str
    value: str = ""


class _Posted(msgspec.Struct):
    mimeType: str = ""  # noqa: N815 - HAR's name
    text: str | None = None
    params: list[_Pair] = []


class _Request(msgspec.Struct):
    method: str
    url: str
    headers: list[_Pair] = []
    postData: _Posted | None = None  # noqa: N815 - as above


class _Content(msgspec.Struct):
    mimeType: str | None = None  # noqa: N815 - as above
    text: str | None = None
    encoding: str | None = None


class _Response(msgspec.Struct):
    status: int = 0
    headers: list[_Pair] = []
    content: _Content = msgspec.field(default_factory=_Content)
    error: str | None = msgspec.field(default=None, name="_error")


class _Entry(msgspec.Struct):
    request: _Request
    response: _Response = msgspec.field(default_factory=_Response)
    startedDateTime: str | None = None  # noqa: N815 - as above
    time: float | None = None
    error: str | None = msgspec.field(default=None, name="_error")


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _File(msgspec.Struct):
    log: _Log


def read(text: bytes, ports: Ports, origin: str) -> Iterator[Recorded]:
    """The calls of a HAR; raises `SourceError`."""
    try:
        file = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"), type=_File, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise SourceError(f"{origin} is no HAR: {what}.") from error
    for number, entry in enumerate(file.log.entries, 1):
        try:
            recorded = _recorded(entry, ports)
        except http_encoding.UNREADABLE as error:
            raise SourceError(
                f"{origin}: entry {number} can't be read: {type(error).__name__} {one_line(error)}."
            ) from error
        yield recorded


def write(found: Iterable[Recorded]) -> Iterator[bytes]:
    """A HAR; only HTTP calls can be in one."""
    entries = [_entry(one) for one in found if one.call.is_http]
    log = {"version": "1.2", "creator": {"name": "refold", "version": "1"}, "entries": entries}
    yield json.dumps({"log": log}, ensure_ascii=False, indent=1).encode() + b"\n"


def _recorded(entry: _Entry, ports: Ports) -> Recorded:
    asked, said = entry.request, entry.response
    headers = _pairs(asked.headers)
    posted = asked.postData
    body = b""
    if posted is not None:
        written = "&".join(f"{p.name}={p.value}" for p in posted.params)
        body = (written if posted.text is None else posted.text).encode("utf-8", "replace")
    port, operation = ports.of_url(asked.url), calls.http_operation(asked.method, asked.url)
    request = calls.http_request(asked.method, asked.url, headers, body)
    kind = ports.kind(port, operation, kind_of_method(asked.method))
    call = Call(kind, port, operation, request, headers=headers)
    return Recorded(
        call,
        _answer(entry, said),
        time=_time(entry.startedDateTime),
        correlation_id=call.header(*http_encoding.CORRELATION),
        origin="imported",
    )


def _answer(entry: _Entry, said: _Response) -> Answer:
    latency = max(entry.time or 0.0, 0.0) / 1000
    error = said.error or entry.error
    if said.status <= 0:
        return Answer.failed(error or "there was no answer", Outcome.ERROR, latency)
    content = said.content
    text = content.text or ""
    body = (
        http_encoding.from_base64(text)
        if content.encoding == "base64"
        else text.encode("utf-8", "replace")
    )
    # HAR keeps bodies unpacked; some writers don't.
    headers, body, media = http_encoding.decoded(_pairs(said.headers), body)
    return Answer(Outcome.OK, said.status, headers, body, content.mimeType or media, error, latency)


def _entry(one: Recorded) -> dict[str, Any]:
    request, answer = one.call.request, one.answer
    headers = request.get("headers") or {}
    media = headers.get("content-type", "")
    body = calls.written(request.get("body"), media)
    started = (one.time or datetime.fromtimestamp(0, UTC)).isoformat()
    content: dict[str, Any] = {"size": len(answer.body), "mimeType": answer.media}
    if answer.text is not None:
        content["text"] = answer.text
    else:
        content |= {"text": base64.b64encode(answer.body).decode(), "encoding": "base64"}
    asked: dict[str, Any] = {
        "method": request["method"],
        "url": request["url"],
        "headers": [{"name": n, "value": v} for n, v in headers.items()],
        "queryString": [],
        "bodySize": len(body),
        **_COMMON,
    }
    if body:
        asked["postData"] = {"mimeType": media, "text": body.decode("utf-8", "replace")}
    said: dict[str, Any] = {
        "status": answer.status or 0,
        "statusText": "",
        "headers": [{"name": n, "value": v} for n, v in answer.headers],
        "content": content,
        "redirectURL": "",
        "bodySize": len(answer.body),
        **_COMMON,
    }
    if answer.error is not None:
        said["_error"] = answer.error
    return {
        "startedDateTime": started,
        "time": answer.latency * 1000,
        "request": asked,
        "response": said,
        "cache": {},
        "timings": {"send": 0, "wait": answer.latency * 1000, "receive": 0},
    }


_COMMON = {"httpVersion": "HTTP/1.1", "cookies": [], "headersSize": -1}


def _pairs(found: list[_Pair]) -> list[tuple[str, str]]:
    return [(pair.name, pair.value) for pair in found]


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
