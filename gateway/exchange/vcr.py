"""Cassettes of vcrpy: YAML, version 1 of its format (vcrpy's `vcr/serialize.py`).

They are read by a YAML loader that constructs plain values only.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from gateway import calls, http_encoding
from gateway.calls import Answer, AnswerOutcome, Call
from gateway.ports import PortSet, classify_http_method
from gateway.recording_store import Recording
from storage import bounded_yaml
from storage.errors import SourceError, summarize_error


def read_cassette(text: bytes, ports: PortSet, origin: str) -> Iterator[Recording]:
    """The calls of a cassette; raises `SourceError`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loaded = bounded_yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(f"{origin} is not a cassette: {summarize_error(error)}.") from error
    interactions = loaded.get("interactions") if isinstance(loaded, dict) else None
    if not isinstance(interactions, list):
        raise SourceError(f"{origin} is not a cassette: it has no list `interactions`.")
    for number, one in enumerate(interactions, 1):
        try:
            recorded = _interaction_to_recording(one, ports)
        except http_encoding.UNREADABLE as error:
            raise SourceError(
                f"{origin}: interaction {number} is not in vcrpy's format:"
                f" {type(error).__name__} {summarize_error(error)}."
            ) from error
        yield recorded


def write_cassette(recordings: Iterable[Recording]) -> Iterator[bytes]:
    """Yield a cassette with the HTTP calls of `recordings`; the format can't hold any others."""
    interactions = [_recording_to_interaction(one) for one in recordings if one.call.is_http]
    yield yaml.dump({"interactions": interactions, "version": 1}, Dumper=yaml.SafeDumper).encode()


def _interaction_to_recording(interaction: Any, ports: PortSet) -> Recording:
    request_entry, response_entry = interaction["request"], interaction["response"]
    headers = _header_pairs(request_entry.get("headers"))
    method, url = str(request_entry["method"]), str(request_entry["uri"])
    body = _body_to_bytes(request_entry.get("body"))
    port, operation = ports.find_port_of_url(url), calls.format_http_operation(method, url)
    request = calls.build_http_request(method, url, headers, body)
    kind = ports.resolve_kind(port, operation, classify_http_method(method))
    call = Call(kind, port, operation, request, headers=headers)
    response_headers = _header_pairs(response_entry.get("headers"))
    status = response_entry["status"]
    code = int(status["code"] if isinstance(status, dict) else status)
    body = _body_to_bytes(
        response_entry.get("body") if "body" in response_entry else response_entry.get("content")
    )
    response_headers, body, media = http_encoding.decode_response(response_headers, body)
    answer = Answer(AnswerOutcome.OK, code, response_headers, body, media)
    correlation = call.find_header(*http_encoding.CORRELATION_HEADERS)
    return Recording(call, answer, correlation_id=correlation, origin="imported")


def _recording_to_interaction(recording: Recording) -> dict[str, Any]:
    request, answer = recording.call.request, recording.answer
    headers = request.get("headers") or {}
    body = calls.encode_body(request.get("body"), headers.get("content-type", ""))
    named: dict[str, list[str]] = {}
    for name, value in answer.headers:
        named.setdefault(name, []).append(value)
    return {
        "request": {
            "body": _bytes_to_text(body) if body else None,
            "headers": {name: [value] for name, value in headers.items()},
            "method": request["method"],
            "uri": request["url"],
        },
        "response": {
            "body": {"string": _bytes_to_text(answer.body)},
            "headers": named,
            "status": {"code": answer.status or 599, "message": answer.error or ""},
        },
    }


def _header_pairs(header_values: Any) -> list[tuple[str, str]]:
    pairs = []
    for name, values in dict(header_values or {}).items():
        listed = values if isinstance(values, list) else [values]
        pairs += [
            (str(name), _bytes_to_text(v) if isinstance(v, bytes) else str(v)) for v in listed
        ]
    return pairs


def _body_to_bytes(body: Any) -> bytes:
    if isinstance(body, dict):
        body = body.get("string", body.get("base64_string", ""))
    if body is None:
        return b""
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogatepass")


def _bytes_to_text(body: bytes) -> Any:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body
