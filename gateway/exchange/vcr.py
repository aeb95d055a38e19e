"""Cassettes of vcrpy: YAML, version 1 of its format (vcrpy's `vcr/serialize.py`).

Read by a loader that constructs nothing but plain values.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from gateway import calls, http_encoding
from gateway.calls import Answer, Call, Outcome
from gateway.ports import Ports, kind_of_method
from gateway.recording_store import Recorded
from storage import bounded_yaml
from storage.errors import SourceError, one_line


def read(text: bytes, ports: Ports, origin: str) -> Iterator[Recorded]:
    """The calls of a cassette; raises `SourceError`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loaded = bounded_yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(f"{origin} is no cassette: {one_line(error)}.") from error
    interactions = loaded.get("interactions") if isinstance(loaded, dict) else None
    if not isinstance(interactions, list):
        raise SourceError(f"{origin} is no cassette: it has no list of interactions.")
    for number, one in enumerate(interactions, 1):
        try:
            recorded = _recorded(one, ports)
        except http_encoding.UNREADABLE as error:
            raise SourceError(
                f"{origin}: interaction {number} is none of vcrpy's:"
                f" {type(error).__name__} {one_line(error)}."
            ) from error
        yield recorded


def write(found: Iterable[Recorded]) -> Iterator[bytes]:
    """A cassette; only HTTP calls can be in one."""
    kept = [_interaction(one) for one in found if one.call.is_http]
    yield yaml.dump({"interactions": kept, "version": 1}, Dumper=yaml.SafeDumper).encode()


def _recorded(one: Any, ports: Ports) -> Recorded:
    asked, said = one["request"], one["response"]
    headers = _headers(asked.get("headers"))
    method, url = str(asked["method"]), str(asked["uri"])
    body = _bytes(asked.get("body"))
    port, operation = ports.of_url(url), calls.http_operation(method, url)
    request = calls.http_request(method, url, headers, body)
    kind = ports.kind(port, operation, kind_of_method(method))
    call = Call(kind, port, operation, request, headers=headers)
    answered = _headers(said.get("headers"))
    status = said["status"]
    code = int(status["code"] if isinstance(status, dict) else status)
    body = _bytes(said.get("body") if "body" in said else said.get("content"))
    kept, body, media = http_encoding.decoded(answered, body)
    answer = Answer(Outcome.OK, code, kept, body, media)
    correlation = call.header(*http_encoding.CORRELATION)
    return Recorded(call, answer, correlation_id=correlation, origin="imported")


def _interaction(one: Recorded) -> dict[str, Any]:
    request, answer = one.call.request, one.answer
    headers = request.get("headers") or {}
    body = calls.written(request.get("body"), headers.get("content-type", ""))
    named: dict[str, list[str]] = {}
    for name, value in answer.headers:
        named.setdefault(name, []).append(value)
    return {
        "request": {
            "body": _text(body) if body else None,
            "headers": {name: [value] for name, value in headers.items()},
            "method": request["method"],
            "uri": request["url"],
        },
        "response": {
            "body": {"string": _text(answer.body)},
            "headers": named,
            "status": {"code": answer.status or 599, "message": answer.error or ""},
        },
    }


def _headers(said: Any) -> list[tuple[str, str]]:
    found = []
    for name, values in dict(said or {}).items():
        listed = values if isinstance(values, list) else [values]
        found += [(str(name), _text(v) if isinstance(v, bytes) else str(v)) for v in listed]
    return found


def _bytes(said: Any) -> bytes:
    if isinstance(said, dict):
        said = said.get("string", said.get("base64_string", ""))
    if said is None:
        return b""
    return said if isinstance(said, bytes) else str(said).encode("utf-8", "surrogatepass")


def _text(body: bytes) -> Any:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body
