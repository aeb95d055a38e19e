"""Bodies as they lie in files of others: how they were packed on their way is undone."""

import base64
import binascii
import gzip
import zlib
from collections.abc import Sequence

import msgspec

CORRELATION_HEADERS = ("x-correlation-id", "x-request-id", "correlation-id", "traceparent")
"""Headers that say to what a call belongs."""
TRANSFER_HEADERS = frozenset(
    ("connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding")
)
"""Headers that say how an answer came, not what it is."""
_MAX_BYTES = 256 << 20
_MAX_RATIO, _SMALL = 200, 1 << 20
"""A body that expands further, and beyond what is small, stays packed."""
UNREADABLE = (
    *(KeyError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError),
    *(RecursionError, msgspec.MsgspecError),
)
"""What hostile calls in a file of others raise when they are taken apart."""


def decode_response(
    headers: Sequence[tuple[str, str]], body: bytes
) -> tuple[list[tuple[str, str]], bytes, str]:
    """Headers without those of the transfer, the body unpacked where it can be, its media type."""
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
    """Bytes; the text itself where it is no base64."""
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return text.encode()


def _decompress(coding: str, body: bytes) -> bytes:
    """What is packed otherwise, or not at all, or is broken, stays as it is."""
    try:
        if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
            return _decompress_bounded(zlib.decompressobj(31), body)
        if coding == "deflate":
            return _decompress_bounded(zlib.decompressobj(), body)
    except (zlib.error, gzip.BadGzipFile, EOFError):
        pass
    return body


def _decompress_bounded(decompressor: "zlib._Decompress", body: bytes) -> bytes:
    most = min(_MAX_BYTES, max(_SMALL, _MAX_RATIO * len(body)))
    found = decompressor.decompress(body, most + 1)
    return body if len(found) > most else found
