"""Calls to the outside and their answers; this module decides when two calls are the same.

A request is a JSON value. That of an HTTP call has `method`, `url`, `headers` and `body`, without the
parts that vary from run to run (`VOLATILE_HEADERS`, the order of parameters).
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

_FINGERPRINT_VERSION = 1
"""Version of the fingerprint; raise it when the rule changes."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CANONICAL_ENCODER = msgspec.json.Encoder(order="sorted", decimal_format="number")

VOLATILE_HEADERS = frozenset(
    (
        *("accept-encoding", "authorization", "connection", "content-length", "cookie", "date"),
        *("host", "idempotency-key", "if-modified-since", "if-none-match", "keep-alive"),
        *("proxy-authorization", "te", "traceparent", "tracestate", "transfer-encoding"),
        *("user-agent", "x-amz-date", "x-amzn-trace-id", "x-b3-sampled", "x-b3-spanid"),
        *("x-b3-traceid", "x-correlation-id", "x-request-id", "expect", "upgrade", "accept"),
    )
)
"""Headers in which two requests may differ and still be the same."""


class CallKind(Enum):
    """Whether a call reads from the outside or changes something there."""

    QUERY = "query"
    COMMAND = "command"


class Decision(Enum):
    """How a call was answered in a fold."""

    RECORDED = "recorded"
    """Answered from a recording."""
    STUBBED = "stubbed"
    """Answered as declared, by an override, or by hand."""
    SUPPRESSED = "suppressed"
    """A command that was not sent; answered from its recording, or as declared."""
    BLOCKED = "blocked"
    """An attempt to bypass the gateway, or any call in the mode `sealed`."""
    MISSED = "missed"
    """Nothing answers the call, so its handler failed."""
    LIVE = "live"
    """The call was made."""
    PENDING = "pending"
    """A command that may have been sent before with unknown outcome, so it isn't sent again."""


class AnswerOutcome(Enum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    PENDING = "pending"
    """The call may have been sent; its outcome is unknown."""


@dataclass(frozen=True)
class Answer:
    """The answer to a call."""

    outcome: AnswerOutcome = AnswerOutcome.OK
    status: int | None = None
    """HTTP status; None for other protocols."""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    """Without transfer encoding; JSON if the call isn't HTTP."""
    media_type: str = "application/json"
    error: str | None = None
    latency: float = 0.0
    """Seconds."""

    @classmethod
    def from_value(cls, value: Any, latency_seconds: float = 0.0) -> "Answer":
        """Return the answer with this JSON value."""
        return cls(body=msgspec.json.encode(value), latency=latency_seconds)

    @classmethod
    def from_error(
        cls, error: str, outcome: AnswerOutcome = AnswerOutcome.ERROR, latency_seconds: float = 0.0
    ) -> "Answer":
        """Return an answer that reports why there is none."""
        return cls(outcome=outcome, error=error, latency=latency_seconds)

    @property
    def text(self) -> str | None:
        """The body as text; None if it is binary."""
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text

    @property
    def value_json(self) -> str:
        """The value, or the error, as JSON for display."""
        value = self.value if self.error is None else {"error": self.error}
        return encode_canonical(value).decode()

    @property
    def value(self) -> Any:
        """The answer as a JSON value; for HTTP an object of `status`, `headers` and `body`."""
        if self.status is not None:
            return {
                "status": self.status,
                "headers": {name.lower(): value for name, value in self.headers},
                "body": decode_body(self.body, self.media_type),
            }
        return None if not self.body else decode_body(self.body, "application/json")


@dataclass(frozen=True)
class Call:
    """A request of a handler to the outside: a query, or a command that changes something."""

    kind: CallKind
    port: str
    operation: str
    request: Any
    offset: int = -1
    event_id: str | None = None
    key: str | None = None
    occurrence: int = 0
    """How often the same request was made before at the same event for the same document."""
    headers: Sequence[tuple[str, str]] = ()
    """All headers of an HTTP call, as sent."""
    body: bytes = b""
    """Body of an HTTP call, as sent."""
    sent_url: str = ""
    """URL of an HTTP call, as sent."""
    timeout_seconds: float | None = None
    """Seconds that the caller of an HTTP call waits; None: no limit."""

    @cached_property
    def fingerprint(self) -> str:
        return compute_fingerprint(self.port, self.operation, self.request)

    @property
    def is_http(self) -> bool:
        return isinstance(self.request, dict) and {"method", "url"} <= self.request.keys()

    def find_header(self, *names: str) -> str | None:
        """Return the value of the first of these headers that is set; names in lower case."""
        return next((v for name in names for n, v in self.headers if n.lower() == name), None)


@dataclass(frozen=True)
class CallOutcome:
    """A call, and how it was answered."""

    call: Call
    decision: Decision
    reason: str
    answer: Answer | None
    recording_number: int | None = None
    """Number of the recording that answers the call."""


def compute_fingerprint(port: str, operation: str, request: Any) -> str:
    """Return a hash that two calls share if they make the same request."""
    return hashlib.sha256(
        b"\0".join(
            (
                b"%d" % _FINGERPRINT_VERSION,
                port.encode(),
                operation.encode(),
                encode_canonical(request),
            )
        )
    ).hexdigest()[:32]


def encode_canonical(request: Any) -> bytes:
    """Return a request as canonical JSON, with sorted members."""
    return _CANONICAL_ENCODER.encode(request)


def build_http_request(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes
) -> dict[str, Any]:
    """Return the request of an HTTP call, without the parts that vary from run to run."""
    media_type = next((v for n, v in headers if n.lower() == "content-type"), "")
    stable_headers = {n.lower(): v for n, v in headers if n.lower() not in VOLATILE_HEADERS}
    if media_type.startswith("multipart/"):
        boundary = media_type.partition("boundary=")[2].strip('"').encode()
        if boundary:  # a client draws a new one for each request
            body, stable_headers["content-type"] = (
                body.replace(boundary, b"boundary"),
                "multipart/form-data",
            )
    request: dict[str, Any] = {"method": method.upper(), "url": normalize_url(url)}
    if stable_headers:
        request["headers"] = dict(sorted(stable_headers.items()))
    if body:
        request["body"] = decode_body(body, media_type)
    return request


def format_http_operation(method: str, url: str) -> str:
    """`GET /v1/rates`"""
    return f"{method.upper()} {urlsplit(url).path or '/'}"


def normalize_url(url: str) -> str:
    """Return a URL with sorted parameters, without default port and fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    user = parts.netloc.rpartition("@")[0]
    authority = f"{user}@{host}" if user else host
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        authority = f"{authority}:{port}"
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)), quote_via=quote)
    return urlunsplit((parts.scheme, authority, parts.path or "/", query, ""))


def decode_body(body: bytes, media_type: str) -> Any:
    """Return a body as a JSON value: parsed JSON, text, or bytes in base64."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    if "json" in media_type:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, ValueError):
            return text
    return text


def encode_body(value: Any, media_type: str) -> bytes:
    """Return the body of a value that `decode_body` returned."""
    if value is None:
        return b""
    if isinstance(value, Mapping) and list(value) == ["base64"]:
        return base64.b64decode(value["base64"])
    if isinstance(value, str) and "json" not in media_type:
        return value.encode()
    return msgspec.json.encode(value)
