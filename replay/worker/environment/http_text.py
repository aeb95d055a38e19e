"""HTTP/1.1 as it is written on a wire: a request out of what a client sends, an answer for it to read."""

from __future__ import annotations

from http import HTTPStatus
from typing import List, NamedTuple, Optional, Tuple

Headers = List[Tuple[str, str]]
OF_TRANSFER = (
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "keep-alive",
)


class Request(NamedTuple):
    """What a client has sent."""

    method: str
    target: str
    headers: Headers
    body: bytes


def request(data: bytes) -> Optional[Request]:
    """The request in what was sent so far; None while it isn't whole."""
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
        body = _unchunked(rest)
        return None if body is None else Request(method, target, headers, body)
    length = named.get("content-length", "0")
    wanted = int(length) if length.isdigit() else 0
    return None if len(rest) < wanted else Request(method, target, headers, rest[:wanted])


def answer(status: int, headers: Headers, body: bytes, method: str) -> bytes:
    """The bytes of an answer whose body is decoded already; the connection ends with it."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}"]
    empty = method == "HEAD" or status in (204, 304)
    dropped = ("transfer-encoding", "connection") if method == "HEAD" else OF_TRANSFER
    lines += [f"{n}: {_one_line(v)}" for n, v in headers if n.lower() not in dropped]
    if empty:
        body = b""
    else:
        lines.append(f"content-length: {len(body)}")
    text = "\r\n".join([*lines, "connection: close", "", ""])
    return text.encode("latin-1", "replace") + body


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def _unchunked(data: bytes) -> Optional[bytes]:
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
