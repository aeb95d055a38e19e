"""Parse JSON one level at a time; nested values stay raw text, with all digits of their numbers."""

import re

import msgspec
import numpy as np
import pyarrow as pa

from storage.errors import SourceError

MAX_ITEMS = 10_000_000
"""Maximum items of a list; each takes about 80 bytes in memory, but as few as 2 in the text."""
_CHUNK = 4 << 20
_ESCAPE = re.compile(rb"\\.", re.DOTALL)

RawMembers = dict[str, msgspec.Raw]
"""An object's members by name, as raw JSON."""

parse_members = msgspec.json.Decoder(RawMembers).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

NOT_FINITE = r"(^|[:,\[])\s*-?(?i:nan|inf)"
"""RE2 pattern for JSON text that may hold NaN or Infinity, which JSON doesn't have. It also matches some
texts that have them only inside strings."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?(?:nan|inf(?:inity)?)\b', re.IGNORECASE | re.DOTALL)


def finite(text: str) -> str:
    """Return the JSON text with NaN and Infinity as strings: "NaN", "Infinity", "-Infinity"."""
    return _TOKEN.sub(_as_string, text)


def finite_column(texts: pa.ChunkedArray) -> pa.Array:
    """Return a column of JSON texts with NaN and Infinity as strings."""
    return pa.array([None if t is None else finite(t) for t in texts.to_pylist()], pa.string())


def _as_string(match: re.Match[str]) -> str:
    token = match[0]
    if token.startswith('"'):
        return token
    if token.lower() == "nan" or token.lower() == "-nan":
        return '"NaN"'
    return '"-Infinity"' if token.startswith("-") else '"Infinity"'


def parse_items(text: bytes) -> list[msgspec.Raw]:
    """Return the items of a list; raises `SourceError` if it has more than `MAX_ITEMS`."""
    if text.count(b",") >= MAX_ITEMS and _count_items(text) > MAX_ITEMS:
        raise SourceError(
            f"A list in the JSON document has more than {MAX_ITEMS:,} items. Write one object per line"
            " (with `jq -c '.[]'`) and load these lines."
        )
    return _items(text)


def _count_items(text: bytes) -> int:
    """Return the approximate number of items of the outermost list, without parsing them."""
    count, depth, is_inside, start = 1, 0, 0, 0
    while start < len(text):
        end = min(start + _CHUNK, len(text))
        while end < len(text) and text[end - 1 : end] == b"\\":
            end += 1  # don't split an escape
        chunk = np.frombuffer(_ESCAPE.sub(b"..", text[start:end]), np.uint8)
        quotes = np.cumsum(chunk == ord('"'), dtype=np.int32) + is_inside
        outside = quotes % 2 == 0
        opened = outside & ((chunk == ord("[")) | (chunk == ord("{")))
        closed = outside & ((chunk == ord("]")) | (chunk == ord("}")))
        depths = np.cumsum(opened.astype(np.int8) - closed.astype(np.int8), dtype=np.int64) + depth
        count += int(np.count_nonzero(outside & (chunk == ord(",")) & (depths == 1)))
        depth, is_inside, start = int(depths[-1]), int(quotes[-1]) % 2, end
    return count
