"""Protect the digits of numbers in JSON text from DuckDB's parser, which reads doubles.

DuckDB reads 0.10 as a double and writes 0.1. A number that would change is fragile: it becomes a
marked string before parsing, and a number again afterwards.
"""

import secrets
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

from storage.quoting import quote_literal

# Not after an escaped quote: that is JSON inside a string, which is not parsed at this stage.
_BEFORE_NUMBER = r'(?:[^\\](?:\\\\)*"\s*:|[\[,])\s*'

# A fragile number has one of: a fraction that is long, tiny or ends in 0, many digits before the
# fraction, a negative zero, an exponent. The patterns are separate, because each then has a literal
# that speeds up the search. They have no context, so they may also match inside a string. A long run
# of digits has no literal: see `_has_long_run`.
_SUSPECT_PATTERNS = (
    r"(?-u)\.(?:[0-9]{9}|0000|[0-9]+0[,\]} \r\n\t])",
    r"(?-u)[0-9]{8}\.",
    r"(?-u)-0[,\]} \r\n\t]",
    r"(?-u)[0-9][eE][-+0-9]",
)
_LONG_RUN = r"(?-u)[0-9]{19}"
# The same, but only where a number may stand: an identifier such as 5e3f doesn't match.
_FRAGILE_NUMBER = (
    r"(?-u)[:\[,]\s*-?(?:[0-9]{20}|[0-9]{8,}\.|[0-9]+\.(?:[0-9]{9}|[0-9]+0[,\]} \r\n\t])"
    r"|[0-9]+\.0000|[0-9.]+[eE])|-0[,\]} \r\n\t]|-[0-9]{19}"
)

# Greedy, because the match must end where the number ends.
_NUMBER = (
    rf"({_BEFORE_NUMBER})"
    r"(-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{19,})|-0)"
)

_ZERO, _TEN = np.uint8(ord("0")), np.uint8(10)
_TOKEN = secrets.token_hex(6)
_OPENING_MARK, _CLOSING_MARK = f"~{_TOKEN}<", f">{_TOKEN}~"

# The pattern skips whole strings. RE2 has no anchor at the end of the previous match. The rest of the text must
# therefore match too, because the search would go on inside a string.
_OUTSIDE_STRINGS = r'(?:"(?:[^"\\]|\\.)*"|[^"])*'
_NUMBER_OUTSIDE_STRINGS = (
    rf"(?s)({_OUTSIDE_STRINGS}?[:\[,]\s*)"
    r"(-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{19,})|-0)"
    rf"|({_OUTSIDE_STRINGS})\z"
)


def protect_numbers(lines: pa.Array, texts: "pl.Series") -> tuple[pa.Array, pa.Array]:
    """Return the lines with fragile numbers as marked strings, and which lines have any.

    `texts` holds the same lines as `lines`. If the pattern matches inside a string, the mark closes
    the string too early: the line is then invalid JSON, and parsing it fails instead of changing it.
    """
    is_fragile_line = find_fragile_lines(lines, texts)
    if not is_fragile_line.any():
        return lines, pa.array(is_fragile_line)
    import polars as pl  # noqa: PLC0415 - a parser process starts faster without Polars
    import pyarrow.compute as pc  # noqa: PLC0415 - a parser process starts faster without the compute functions

    indices = pl.Series(np.flatnonzero(is_fragile_line))
    marked = texts.gather(indices).str.replace_all(
        _NUMBER, f'${{1}}"{_OPENING_MARK}${{2}}{_CLOSING_MARK}"'
    )
    replaced = pc.replace_with_mask(lines, is_fragile_line, marked.to_arrow().cast(pa.string()))
    return replaced, pa.array(is_fragile_line)


def find_fragile_lines(
    lines: pa.Array, texts: "pl.Series"
) -> "np.ndarray[tuple[int], np.dtype[np.bool]]":
    """Return which lines may have a number that a double would change; `texts` are the same lines."""
    is_fragile_line = np.zeros(len(lines), dtype=bool)
    suspect = texts.str.contains(_SUSPECT_PATTERNS[0])
    for pattern in _SUSPECT_PATTERNS[1:]:
        suspect |= texts.str.contains(pattern)
    if _has_long_run(lines):
        suspect |= texts.str.contains(_LONG_RUN)
    if suspect.any():
        indices = suspect.arg_true()
        indices = indices.filter(texts.gather(indices).str.contains(_FRAGILE_NUMBER))
        is_fragile_line[indices.to_numpy()] = True
    return is_fragile_line


def _has_long_run(lines: pa.Array) -> bool:
    """Return whether a run of 19 digits may exist.

    Every such run contains 16 digits that begin at a multiple of 4. Reading every fourth byte first
    is faster than reading all.
    """
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
    """Return SQL that turns the marked strings in `json_text`, an SQL expression, back into numbers."""
    return f"replace(replace({json_text}, '\"{_OPENING_MARK}', ''), '{_CLOSING_MARK}\"', '')"


def free_scalar_sql(text: str) -> str:
    """Return SQL that removes the marks from `text`, a scalar extracted from protected JSON."""
    return f"replace(replace({text}, '{_OPENING_MARK}', ''), '{_CLOSING_MARK}', '')"


def is_fragile_sql(text: str) -> str:
    """Return an SQL condition: the JSON text `text` may have a number that a double would change."""
    return f"regexp_matches({text}, {quote_literal(_FRAGILE_NUMBER.removeprefix('(?-u)'))})"


def protect_numbers_sql(text: str) -> str:
    """Return SQL of the JSON text `text` with fragile numbers as marked strings."""
    marked = quote_literal(f'\\1"{_OPENING_MARK}\\2{_CLOSING_MARK}"\\3')
    nothing = quote_literal(f'"{_OPENING_MARK}{_CLOSING_MARK}"')
    replaced = f"regexp_replace({text}, {quote_literal(_NUMBER_OUTSIDE_STRINGS)}, {marked}, 'g')"
    return f"replace({replaced}, {nothing}, '')"
