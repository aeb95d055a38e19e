"""JSON taken apart one level at a time: what lies inside stays the text that it was, digits and all."""

import re

import msgspec
import numpy as np
import pyarrow as pa

from storage.errors import SourceError

MAX_ITEMS = 10_000_000
"""Items of a list that is held in memory; each takes some 80 bytes there, and two in the text."""
_CHUNK = 4 << 20
_ESCAPE = re.compile(rb"\\.", re.DOTALL)

RawMembers = dict[str, msgspec.Raw]
"""An object's members."""

parse_members = msgspec.json.Decoder(RawMembers).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

NOT_FINITE = r"(^|[:,\[])\s*-?(?i:nan|inf)"
"""RE2 that matches where NaN or Infinity may stand in a text; JSON has neither. It matches some texts
that have them inside of strings only."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?(?:nan|inf(?:inity)?)\b', re.IGNORECASE | re.DOTALL)


def finite(text: str) -> str:
    """The JSON text with NaN and Infinity as strings: "NaN", "Infinity", "-Infinity"."""
    return _TOKEN.sub(_as_string, text)


def finite_column(texts: pa.ChunkedArray) -> pa.Array:
    """The same for a column."""
    return pa.array([None if t is None else finite(t) for t in texts.to_pylist()], pa.string())


def _as_string(found: re.Match[str]) -> str:
    said = found[0]
    if said.startswith('"'):
        return said
    if said.lower() == "nan" or said.lower() == "-nan":
        return '"NaN"'
    return '"-Infinity"' if said.startswith("-") else '"Infinity"'


def parse_items(text: bytes) -> list[msgspec.Raw]:
    """Return the items of a list; raise `SourceError` if it has too many of them."""
    if text.count(b",") >= MAX_ITEMS and _count_items(text) > MAX_ITEMS:
        raise SourceError(
            f"A list of more than {MAX_ITEMS:,} items in one JSON document is not read; write an"
            " object a line (`jq -c '.[]'` does that) and load those."
        )
    return _items(text)


def _count_items(text: bytes) -> int:
    """Return about how many items the outermost list has, without holding any of them."""
    count, depth, is_inside, start = 1, 0, 0, 0
    while start < len(text):
        end = min(start + _CHUNK, len(text))
        while end < len(text) and text[end - 1 : end] == b"\\":
            end += 1  # an escape stays whole
        chunk = np.frombuffer(_ESCAPE.sub(b"..", text[start:end]), np.uint8)
        quotes = np.cumsum(chunk == ord('"'), dtype=np.int32) + is_inside
        outside = quotes % 2 == 0
        opened = outside & ((chunk == ord("[")) | (chunk == ord("{")))
        closed = outside & ((chunk == ord("]")) | (chunk == ord("}")))
        depths = np.cumsum(opened.astype(np.int8) - closed.astype(np.int8), dtype=np.int64) + depth
        count += int(np.count_nonzero(outside & (chunk == ord(",")) & (depths == 1)))
        depth, is_inside, start = int(depths[-1]), int(quotes[-1]) % 2, end
    return count
