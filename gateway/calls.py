"""A call to the outside and its answer, as this program knows them; what makes two calls the same.

A request is a JSON value. That of an HTTP call has `method`, `url`, `headers` and `body`, of which
what differs from run to run (`VOLATILE_HEADERS` headers, the order of parameters) is no part.
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
"""Of the fingerprint; another rule is another number."""
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
"""Headers that don't make a request another one."""


class CallKind(Enum):
    """What a call does to the outside."""

    QUERY = "query"
    COMMAND = "command"


class Decision(Enum):
    """What became of a call in a fold."""

    RECORDED = "recorded"
    """Answered from a recording."""
    STUBBED = "stubbed"
    """Answered with what was declared, or with what an override says."""
    SUPPRESSED = "suppressed"
    """A command that was not sent; answered as it was then, or as declared."""
    BLOCKED = "blocked"
    """An attempt to get out by another way, or any call where all is sealed."""
    MISSED = "missed"
    """Nothing answers it, so its handler failed."""
    LIVE = "live"
    """It went out."""
    PENDING = "pending"
    """A command that may have been sent before: nobody saw how it ended, so it isn't sent again."""


class AnswerOutcome(Enum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    """It was not sent."""
    PENDING = "pending"
    """It may have been sent: nobody has seen how it ended."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    outcome: AnswerOutcome = AnswerOutcome.OK
    status: int | None = None
    """Of HTTP; None for any other."""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    """Decoded; JSON where it isn't of HTTP."""
    media_type: str = "application/json"
    error: str | None = None
    latency: float = 0.0
    """Seconds."""

    @classmethod
    def from_value(cls, value: Any, latency_seconds: float = 0.0) -> "Answer":
        """The answer that has this JSON value."""
        return cls(body=msgspec.json.encode(value), latency=latency_seconds)

    @classmethod
    def from_error(
        cls, error: str, outcome: AnswerOutcome = AnswerOutcome.ERROR, latency_seconds: float = 0.0
    ) -> "Answer":
        """There was none."""
        return cls(outcome=outcome, error=error, latency=latency_seconds)

    @property
    def text(self) -> str | None:
        """The body as text; None where it is none."""
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text

    @property
    def value_json(self) -> str:
        """What it says as JSON, to be looked at."""
        value = self.value if self.error is None else {"error": self.error}
        return encode_canonical(value).decode()

    @property
    def value(self) -> Any:
        """What it says, as a JSON value."""
        if self.status is not None:
            return {
                "status": self.status,
                "headers": {name.lower(): value for name, value in self.headers},
                "body": decode_body(self.body, self.media_type),
            }
        return None if not self.body else decode_body(self.body, "application/json")


@dataclass(frozen=True)
class Call:
    """A handler asks something of the outside, or wants to change something there."""

    kind: CallKind
    port: str
    operation: str
    request: Any
    offset: int = -1
    event_id: str | None = None
    key: str | None = None
    occurrence: int = 0
    """How often the same was asked before at the same event for the same document."""
    headers: Sequence[tuple[str, str]] = ()
    """Of HTTP: all, as they are to be sent."""
    body: bytes = b""
    """Of HTTP: as it is to be sent."""
    sent_url: str = ""
    """Of HTTP: as it is to be sent."""
    timeout_seconds: float | None = None
    """Of HTTP: seconds that the caller would wait."""

    @cached_property
    def fingerprint(self) -> str:
        return compute_fingerprint(self.port, self.operation, self.request)

    @property
    def is_http(self) -> bool:
        return isinstance(self.request, dict) and {"method", "url"} <= self.request.keys()

    def find_header(self, *names: str) -> str | None:
        """The first of these headers that is there."""
        return next((v for name in names for n, v in self.headers if n.lower() == name), None)


@dataclass(frozen=True)
class CallOutcome:
    """A call, and what became of it."""

    call: Call
    decision: Decision
    reason: str
    answer: Answer | None
    recording_number: int | None = None
    """Of the recording that answers it."""


def compute_fingerprint(port: str, operation: str, request: Any) -> str:
    """A hash that two calls share if they ask the same."""
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
    """The JSON of a request by which it is known."""
    return _CANONICAL_ENCODER.encode(request)


def build_http_request(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes
) -> dict[str, Any]:
    """The request of an HTTP call: what makes it this one."""
    media_type = next((v for n, v in headers if n.lower() == "content-type"), "")
    stable_headers = {n.lower(): v for n, v in headers if n.lower() not in VOLATILE_HEADERS}
    if media_type.startswith("multipart/"):
        boundary = media_type.partition("boundary=")[2].strip('"').encode()
        if boundary:  # drawn anew for each request
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
    """An address without what doesn't matter: order of parameters, default port, fragment."""
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
    """A body as a JSON value: what its JSON says, its text, or its bytes in base64."""
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
    """The body that is shown so; see `readable`."""
    if value is None:
        return b""
    if isinstance(value, Mapping) and list(value) == ["base64"]:
        return base64.b64decode(value["base64"])
    if isinstance(value, str) and "json" not in media_type:
        return value.encode()
    return msgspec.json.encode(value)
