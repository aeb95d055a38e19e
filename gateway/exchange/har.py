"""HAR 1.2, the format of browsers and proxies (http://www.softwareishard.com/blog/har-12-spec/)."""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import calls, http_encoding
from gateway.calls import Answer, AnswerOutcome, Call
from gateway.ports import PortSet, classify_http_method
from gateway.recording_store import Recording
from storage.errors import SourceError, summarize_error


class _Pair(msgspec.Struct):
    name: str
    value: str = ""


class _PostData(msgspec.Struct):
    mimeType: str = ""  # noqa: N815 - HAR's name
    text: str | None = None
    params: list[_Pair] = []


class _HarRequest(msgspec.Struct):
    method: str
    url: str
    headers: list[_Pair] = []
    postData: _PostData | None = None  # noqa: N815 - as above


class _Content(msgspec.Struct):
    mimeType: str | None = None  # noqa: N815 - as above
    text: str | None = None
    encoding: str | None = None


class _HarResponse(msgspec.Struct):
    status: int = 0
    headers: list[_Pair] = []
    content: _Content = msgspec.field(default_factory=_Content)
    error: str | None = msgspec.field(default=None, name="_error")


class _HarEntry(msgspec.Struct):
    request: _HarRequest
    response: _HarResponse = msgspec.field(default_factory=_HarResponse)
    startedDateTime: str | None = None  # noqa: N815 - as above
    time: float | None = None
    error: str | None = msgspec.field(default=None, name="_error")


class _HarLog(msgspec.Struct):
    entries: list[_HarEntry]


class _HarFile(msgspec.Struct):
    log: _HarLog


def read_har(text: bytes, ports: PortSet, origin: str) -> Iterator[Recording]:
    """The calls of a HAR file; raises `SourceError`."""
    try:
        file = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"), type=_HarFile, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise SourceError(f"{origin} is not a HAR file: {reason}.") from error
    for number, entry in enumerate(file.log.entries, 1):
        try:
            recorded = _entry_to_recording(entry, ports)
        except http_encoding.UNREADABLE as error:
            raise SourceError(
                f"{origin}: entry {number} can't be read: {type(error).__name__} {summarize_error(error)}."
            ) from error
        yield recorded


def write_har(recordings: Iterable[Recording]) -> Iterator[bytes]:
    """A HAR file of the HTTP calls among these; HAR has no other calls."""
    entries = [_recording_to_entry(one) for one in recordings if one.call.is_http]
    log = {"version": "1.2", "creator": {"name": "refold", "version": "1"}, "entries": entries}
    yield json.dumps({"log": log}, ensure_ascii=False, indent=1).encode() + b"\n"


def _entry_to_recording(entry: _HarEntry, ports: PortSet) -> Recording:
    request_entry, response_entry = entry.request, entry.response
    headers = _header_pairs(request_entry.headers)
    posted = request_entry.postData
    body = b""
    if posted is not None:
        written = "&".join(f"{p.name}={p.value}" for p in posted.params)
        body = (written if posted.text is None else posted.text).encode("utf-8", "replace")
    port, operation = (
        ports.find_port_of_url(request_entry.url),
        calls.format_http_operation(request_entry.method, request_entry.url),
    )
    request = calls.build_http_request(request_entry.method, request_entry.url, headers, body)
    kind = ports.resolve_kind(port, operation, classify_http_method(request_entry.method))
    call = Call(kind, port, operation, request, headers=headers)
    return Recording(
        call,
        _entry_to_answer(entry, response_entry),
        time=_parse_time(entry.startedDateTime),
        correlation_id=call.find_header(*http_encoding.CORRELATION_HEADERS),
        origin="imported",
    )


def _entry_to_answer(entry: _HarEntry, response_entry: _HarResponse) -> Answer:
    latency = max(entry.time or 0.0, 0.0) / 1000
    error = response_entry.error or entry.error
    if response_entry.status <= 0:
        return Answer.from_error(error or "there was no answer", AnswerOutcome.ERROR, latency)
    content = response_entry.content
    text = content.text or ""
    body = (
        http_encoding.decode_base64(text)
        if content.encoding == "base64"
        else text.encode("utf-8", "replace")
    )
    # HAR says that bodies are stored decompressed; some writers store them compressed.
    headers, body, media = http_encoding.decode_response(
        _header_pairs(response_entry.headers), body
    )
    return Answer(
        AnswerOutcome.OK,
        response_entry.status,
        headers,
        body,
        content.mimeType or media,
        error,
        latency,
    )


def _recording_to_entry(recording: Recording) -> dict[str, Any]:
    request, answer = recording.call.request, recording.answer
    headers = request.get("headers") or {}
    media_type = headers.get("content-type", "")
    body = calls.encode_body(request.get("body"), media_type)
    started = (recording.time or datetime.fromtimestamp(0, UTC)).isoformat()
    content: dict[str, Any] = {"size": len(answer.body), "mimeType": answer.media_type}
    if answer.text is not None:
        content["text"] = answer.text
    else:
        content |= {"text": base64.b64encode(answer.body).decode(), "encoding": "base64"}
    request_entry: dict[str, Any] = {
        "method": request["method"],
        "url": request["url"],
        "headers": [{"name": n, "value": v} for n, v in headers.items()],
        "queryString": [],
        "bodySize": len(body),
        **_COMMON_MEMBERS,
    }
    if body:
        request_entry["postData"] = {
            "mimeType": media_type,
            "text": body.decode("utf-8", "replace"),
        }
    response_entry: dict[str, Any] = {
        "status": answer.status or 0,
        "statusText": "",
        "headers": [{"name": n, "value": v} for n, v in answer.headers],
        "content": content,
        "redirectURL": "",
        "bodySize": len(answer.body),
        **_COMMON_MEMBERS,
    }
    if answer.error is not None:
        response_entry["_error"] = answer.error
    return {
        "startedDateTime": started,
        "time": answer.latency * 1000,
        "request": request_entry,
        "response": response_entry,
        "cache": {},
        "timings": {"send": 0, "wait": answer.latency * 1000, "receive": 0},
    }


_COMMON_MEMBERS = {"httpVersion": "HTTP/1.1", "cookies": [], "headersSize": -1}


def _header_pairs(pairs: list[_Pair]) -> list[tuple[str, str]]:
    return [(pair.name, pair.value) for pair in pairs]


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
