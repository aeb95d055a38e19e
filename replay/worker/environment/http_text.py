"""HTTP/1.1 text: parses the request that a client sends, and formats the response that it reads."""

from __future__ import annotations

from http import HTTPStatus
from typing import List, NamedTuple, Optional, Tuple

Headers = List[Tuple[str, str]]
TRANSFER_HEADERS = (
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "keep-alive",
)


class HttpRequest(NamedTuple):
    """A request that a client sent."""

    method: str
    target: str
    headers: Headers
    body: bytes


def parse_request(data: bytes) -> Optional[HttpRequest]:
    """Return the request in the bytes sent so far; None while it is incomplete."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest_of_line = first.partition(" ")
    target = rest_of_line.rpartition(" ")[0]
    headers = [
        (name.strip(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
    ]
    named = {name.lower(): value for name, value in headers}
    if "chunked" in named.get("transfer-encoding", "").lower():
        body = _decode_chunked(rest)
        return None if body is None else HttpRequest(method, target, headers, body)
    length = named.get("content-length", "0")
    body_length = int(length) if length.isdigit() else 0
    return (
        None
        if len(rest) < body_length
        else HttpRequest(method, target, headers, rest[:body_length])
    )


def format_response(status: int, headers: Headers, body: bytes, method: str) -> bytes:
    """Return the bytes of a response; `body` is already decoded, and the connection closes."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}"]
    has_no_body = method == "HEAD" or status in (204, 304)
    dropped_headers = ("transfer-encoding", "connection") if method == "HEAD" else TRANSFER_HEADERS
    lines += [f"{n}: {_to_one_line(v)}" for n, v in headers if n.lower() not in dropped_headers]
    if has_no_body:
        body = b""
    else:
        lines.append(f"content-length: {len(body)}")
    text = "\r\n".join([*lines, "connection: close", "", ""])
    return text.encode("latin-1", "replace") + body


def _to_one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def _decode_chunked(data: bytes) -> Optional[bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        size = int(line.partition(b";")[0] or b"0", 16)
        if size == 0:
            return body if b"\r\n" in data else None
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2 :]
