"""Bodies as they lie in files of others: how they were packed on their way is undone."""

import base64
import binascii
import gzip
import zlib
from collections.abc import Sequence

import msgspec

CORRELATION = ("x-correlation-id", "x-request-id", "correlation-id", "traceparent")
"""Headers that say to what a call belongs."""
OF_TRANSFER = frozenset(
    ("connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding")
)
"""Headers that say how an answer came, not what it is."""
_MOST = 256 << 20
_MAX_RATIO, _SMALL = 200, 1 << 20
"""A body that expands further, and beyond what is small, stays packed."""
UNREADABLE = (
    *(KeyError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError),
    *(RecursionError, msgspec.MsgspecError),
)
"""What hostile calls in a file of others raise when they are taken apart."""


def decoded(
    headers: Sequence[tuple[str, str]], body: bytes
) -> tuple[list[tuple[str, str]], bytes, str]:
    """Headers without those of the transfer, the body unpacked where it can be, its media type."""
    named = {name.lower(): value for name, value in headers}
    coding = named.get("content-encoding", "").strip().lower()
    kept = [(name, value) for name, value in headers if name.lower() not in OF_TRANSFER]
    return kept, _unpacked(coding, body), named.get("content-type", "application/octet-stream")


def from_base64(text: str) -> bytes:
    """Bytes; the text itself where it is no base64."""
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return text.encode()


def _unpacked(coding: str, body: bytes) -> bytes:
    """What is packed otherwise, or not at all, or is broken, stays as it is."""
    try:
        if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
            return _within(zlib.decompressobj(31), body)
        if coding == "deflate":
            return _within(zlib.decompressobj(), body)
    except (zlib.error, gzip.BadGzipFile, EOFError):
        pass
    return body


def _within(unpacker: "zlib._Decompress", body: bytes) -> bytes:
    most = min(_MOST, max(_SMALL, _MAX_RATIO * len(body)))
    found = unpacker.decompress(body, most + 1)
    return body if len(found) > most else found
