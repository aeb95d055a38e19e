"""HTTP bodies in files of other tools: undoes their compression and base64."""

import base64
import binascii
import gzip
import zlib
from collections.abc import Sequence

import msgspec

CORRELATION_HEADERS = ("x-correlation-id", "x-request-id", "correlation-id", "traceparent")
"""Headers whose value may be a correlation id, in order of precedence."""
TRANSFER_HEADERS = frozenset(
    ("connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding")
)
"""Headers that describe the transfer, not the answer."""
_MAX_BYTES = 256 << 20
_MAX_RATIO, _SMALL = 200, 1 << 20
"""Largest ratio of expansion; a body that expands further, beyond `_SMALL` bytes, stays compressed."""
UNREADABLE = (
    *(KeyError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError),
    *(RecursionError, msgspec.MsgspecError),
)
"""Errors that malformed calls in a file raise while they are parsed."""


def decode_response(
    headers: Sequence[tuple[str, str]], body: bytes
) -> tuple[list[tuple[str, str]], bytes, str]:
    """Return headers without `TRANSFER_HEADERS`, the body decompressed if possible, its media type."""
    value_by_name = {name.lower(): value for name, value in headers}
    coding = value_by_name.get("content-encoding", "").strip().lower()
    kept_headers = [
        (name, value) for name, value in headers if name.lower() not in TRANSFER_HEADERS
    ]
    return (
        kept_headers,
        _decompress(coding, body),
        value_by_name.get("content-type", "application/octet-stream"),
    )


def decode_base64(text: str) -> bytes:
    """Decode base64; return the text's own bytes if it isn't valid base64."""
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return text.encode()


def _decompress(coding: str, body: bytes) -> bytes:
    """Decompress a body; return it unchanged if its coding is unknown or the data is broken."""
    try:
        if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
            return _decompress_bounded(zlib.decompressobj(31), body)
        if coding == "deflate":
            return _decompress_bounded(zlib.decompressobj(), body)
    except (zlib.error, gzip.BadGzipFile, EOFError):
        pass
    return body


def _decompress_bounded(decompressor: "zlib._Decompress", body: bytes) -> bytes:
    limit_bytes = min(_MAX_BYTES, max(_SMALL, _MAX_RATIO * len(body)))
    data = decompressor.decompress(body, limit_bytes + 1)
    return body if len(data) > limit_bytes else data
