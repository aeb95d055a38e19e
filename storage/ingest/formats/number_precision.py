"""Numbers in JSON text keep the digits they were written with, through a parser that makes doubles.

DuckDB reads JSON with doubles and writes 0.10 as 0.1. Where a text holds a number that would
change, every such number is made a marked string before parsing, and is freed again afterwards.
"""

import secrets
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

from storage.quoting import quote_literal

# Not behind an escaped quote: that is JSON inside of a string, whose numbers nobody parses yet.
_BEFORE_NUMBER = r'(?:[^\\](?:\\\\)*"\s*:|[\[,])\s*'

# What a fragile number has somewhere: a fraction that is long, tiny or ends in 0, many digits before
# it, a negative zero, an exponent. Each has a literal to look for, which an alternation of them
# wouldn't have; they need no context, so they may find it inside a string. A long run of digits
# has no literal: see `_has_long_run`.
_SUSPECT_PATTERNS = (
    r"(?-u)\.(?:[0-9]{9}|0000|[0-9]+0[,\]} \r\n\t])",
    r"(?-u)[0-9]{8}\.",
    r"(?-u)-0[,\]} \r\n\t]",
    r"(?-u)[0-9][eE][-+0-9]",
)
_LONG_RUN = r"(?-u)[0-9]{19}"
# The same at a number's place; an identifier such as 5e3f is none.
_FRAGILE_NUMBER = (
    r"(?-u)[:\[,]\s*-?(?:[0-9]{20}|[0-9]{8,}\.|[0-9]+\.(?:[0-9]{9}|[0-9]+0[,\]} \r\n\t])"
    r"|[0-9]+\.0000|[0-9.]+[eE])|-0[,\]} \r\n\t]|-[0-9]{19}"
)

# Greedy, so that it ends where the number does; what could follow a shorter one is no JSON anyway.
_NUMBER = (
    rf"({_BEFORE_NUMBER})"
    r"(-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{19,})|-0)"
)

_ZERO, _TEN = np.uint8(ord("0")), np.uint8(10)
_TOKEN = secrets.token_hex(6)
_OPENING_MARK, _CLOSING_MARK = f"~{_TOKEN}<", f">{_TOKEN}~"

# Strings are passed over whole. RE2 has no anchor at the end of the match before, so that the rest of the text
# must be a match too, or the search would go on inside of a string.
_OUTSIDE_STRINGS = r'(?:"(?:[^"\\]|\\.)*"|[^"])*'
_NUMBER_OUTSIDE_STRINGS = (
    rf"(?s)({_OUTSIDE_STRINGS}?[:\[,]\s*)"
    r"(-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{19,})|-0)"
    rf"|({_OUTSIDE_STRINGS})\z"
)


def protect_numbers(lines: pa.Array, texts: "pl.Series") -> tuple[pa.Array, pa.Array]:
    """Lines of JSON (`texts` are the same) with fragile numbers as marked strings, and which have any.

    A line in which a number's place stands inside a string is no JSON any more, and says so when it
    is parsed: the mark closes the string too early.
    """
    is_fragile_line = find_fragile_lines(lines, texts)
    if not is_fragile_line.any():
        return lines, pa.array(is_fragile_line)
    import polars as pl  # noqa: PLC0415 - a parser's process starts sooner without both
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    found = pl.Series(np.flatnonzero(is_fragile_line))
    marked = texts.gather(found).str.replace_all(
        _NUMBER, f'${{1}}"{_OPENING_MARK}${{2}}{_CLOSING_MARK}"'
    )
    replaced = pc.replace_with_mask(lines, is_fragile_line, marked.to_arrow().cast(pa.string()))
    return replaced, pa.array(is_fragile_line)


def find_fragile_lines(
    lines: pa.Array, texts: "pl.Series"
) -> "np.ndarray[tuple[int], np.dtype[np.bool]]":
    """Which of the texts (`lines` are the same) may have a number that a double would change."""
    is_fragile_line = np.zeros(len(lines), dtype=bool)
    suspect = texts.str.contains(_SUSPECT_PATTERNS[0])
    for pattern in _SUSPECT_PATTERNS[1:]:
        suspect |= texts.str.contains(pattern)
    if _has_long_run(lines):
        suspect |= texts.str.contains(_LONG_RUN)
    if suspect.any():
        found = suspect.arg_true()
        found = found.filter(texts.gather(found).str.contains(_FRAGILE_NUMBER))
        is_fragile_line[found.to_numpy()] = True
    return is_fragile_line


def _has_long_run(lines: pa.Array) -> bool:
    """Whether there may be 19 digits in a row: four of them then are at places that 4 divides."""
    _, offsets, data = lines.buffers()
    if data is None:
        return False
    ends = np.frombuffer(offsets, np.int32)[[lines.offset, lines.offset + len(lines)]]
    text = np.frombuffer(data, np.uint8)[ends[0] : ends[1]]
    digit = (text[::4] - _ZERO) < _TEN
    four = digit[:-3] & digit[1:-2] & digit[2:-1] & digit[3:]
    starts = np.flatnonzero(four) * 4
    for digit_index in range(1, 16):
        inside = starts[starts + digit_index < len(text)]
        starts = inside[(text[inside + digit_index] - _ZERO) < _TEN]
    return len(starts) > 0


def free_numbers_sql(json_text: str) -> str:
    """SQL that turns marked strings in the SQL expression `json_text` (JSON) back into numbers."""
    return f"replace(replace({json_text}, '\"{_OPENING_MARK}', ''), '{_CLOSING_MARK}\"', '')"


def free_scalar_sql(text: str) -> str:
    """The same for a scalar that was taken out of its JSON."""
    return f"replace(replace({text}, '{_OPENING_MARK}', ''), '{_CLOSING_MARK}', '')"


def is_fragile_sql(text: str) -> str:
    """SQL: whether the JSON text `text` may have a number that a double would change."""
    return f"regexp_matches({text}, {quote_literal(_FRAGILE_NUMBER.removeprefix('(?-u)'))})"


def protect_numbers_sql(text: str) -> str:
    """SQL of the JSON text with its fragile numbers as marked strings."""
    marked = quote_literal(f'\\1"{_OPENING_MARK}\\2{_CLOSING_MARK}"\\3')
    nothing = quote_literal(f'"{_OPENING_MARK}{_CLOSING_MARK}"')
    replaced = f"regexp_replace({text}, {quote_literal(_NUMBER_OUTSIDE_STRINGS)}, {marked}, 'g')"
    return f"replace({replaced}, {nothing}, '')"
