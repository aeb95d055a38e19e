"""JSON taken apart one level at a time: what lies inside stays the text that it was, digits and all."""

import re

import msgspec
import pyarrow as pa

Members = dict[str, msgspec.Raw]
"""An object's members."""

members = msgspec.json.Decoder(Members).decode
items = msgspec.json.Decoder(list[msgspec.Raw]).decode

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
