"""Numbers in JSON text keep the digits they were written with, through a parser that makes doubles.

DuckDB reads JSON with doubles and writes 0.10 as 0.1. Where a text holds a number that would
change, every such number is made a marked string before parsing, and is freed again afterwards.
"""

import secrets

import polars as pl
import pyarrow as pa

_BEFORE = r'(?:"\s*:|[\[,])\s*'

# One automaton over all bytes, as a pass over them costs more than what it looks for: a long number,
# a fraction that is long, tiny or ends in 0, a negative zero, an exponent. It needs no context, so
# it may find them inside a string.
_SUSPECT = (
    r"(?-u)[0-9]{8}(?:\.|[0-9]{12})|\.(?:[0-9]{9}|0000|[0-9]+0[,\]} \r\n\t])"
    r"|-(?:0[,\]} \r\n\t]|[0-9]{19})|[0-9][eE][-+0-9]"
)
# The same at a number's place; an identifier such as 5e3f is none.
_FRAGILE = (
    r"(?-u)[:\[,][ \t]*-?(?:[0-9]{20}|[0-9]{8,}\.|[0-9]+\.(?:[0-9]{9}|[0-9]+0[,\]} \r\n\t])"
    r"|[0-9]+\.0000|[0-9.]+[eE])|-0[,\]} \r\n\t]|-[0-9]{19}"
)

# Greedy, so that it ends where the number does; what could follow a shorter one is no JSON anyway.
_NUMBER = (
    rf"({_BEFORE})"
    r"(-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{19,})|-0)"
)

_TOKEN = secrets.token_hex(6)
_OPEN, _CLOSE = f"~{_TOKEN}<", f">{_TOKEN}~"


def fragile(text: pl.Series) -> bool:
    """Whether a number in these JSON texts might not survive a trip through a double.

    May say yes where the digits stand inside a string; that costs time only.
    """
    return bool(text.str.contains(_SUSPECT).any()) and bool(text.str.contains(_FRAGILE).any())


def protect(lines: pl.Series) -> pa.Array:
    """The same lines with their fragile numbers as marked strings.

    A line in which such a number stands inside a string is no JSON any more, and says so when it is
    parsed: the mark closes the string too early.
    """
    marked = lines.str.replace_all(_NUMBER, f'${{1}}"{_OPEN}${{2}}{_CLOSE}"')
    return marked.to_arrow().cast(pa.string())


def freed(json_text: str) -> str:
    """SQL that turns marked strings in the SQL expression `json_text` (JSON) back into numbers."""
    return f"replace(replace({json_text}, '\"{_OPEN}', ''), '{_CLOSE}\"', '')"


def freed_scalar(text: str) -> str:
    """The same for a scalar that was taken out of its JSON."""
    return f"replace(replace({text}, '{_OPEN}', ''), '{_CLOSE}', '')"
