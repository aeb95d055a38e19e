"""Completions for a query that is being typed: tables, columns, macros, projections, keywords.

A pure function of the text and the cursor; the likeliest words come first. It guesses from the words
before the cursor without parsing the query.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from storage.workspace.macros import MACROS
from storage.workspace.schema import TABLES


@dataclass(frozen=True)
class Suggestion:
    """A word that can complete the query."""

    text: str
    """The text to insert."""
    kind: str
    """`table`, `column`, `macro`, `projection`, `function` or `keyword`."""
    detail: str = ""
    """The type of a column, or the parameters of a macro."""


@dataclass(frozen=True)
class Completion:
    """Suggestions that replace the text from `start` to the cursor."""

    start: int
    suggestions: tuple[Suggestion, ...]


_MAX_SUGGESTIONS = 50
_RESERVED = {"offset"}
_KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "LEFT JOIN"),
    *("ON", "USING", "AS", "AND", "OR", "NOT", "IN", "IS NULL", "IS NOT NULL", "BETWEEN"),
    *("LIKE", "ILIKE", "DISTINCT", "HAVING", "WITH", "UNION ALL", "CASE", "WHEN", "THEN"),
    *("ELSE", "END", "DESC", "ASC", "NULLS LAST", "OVER", "PARTITION BY", "FILTER"),
    *("EXISTS", "CAST", "INTERVAL", "EXPLAIN", "DESCRIBE", "SUMMARIZE", "SHOW TABLES"),
    *("VALUES", "TRUE", "FALSE", "NULL", "SEMI JOIN", "ANTI JOIN", "ASOF JOIN", "QUALIFY"),
    *("EXCEPT", "INTERSECT", "TIMESTAMP", "DATE", "VARCHAR", "BIGINT", "DOUBLE", "DECIMAL"),
)
_FUNCTIONS = (
    *("abs", "any_value", "arg_max", "arg_min", "avg", "coalesce", "concat", "contains", "count"),
    *("date_diff", "date_trunc", "dense_rank", "epoch_ms", "first_value", "greatest", "histogram"),
    *("json_extract", "json_extract_string", "json_group_array", "json_keys", "json_structure"),
    *("json_type", "lag", "last_value", "lead", "least", "length", "list", "lower", "max"),
    *("median", "min", "mode", "quantile_cont", "rank", "regexp_extract", "regexp_matches"),
    *("replace", "round", "row_number", "split_part", "starts_with", "strftime", "string_agg"),
    *("substr", "sum", "time_bucket", "trim", "try_cast", "unnest", "upper"),
)

_FIRST_TABLES = ("events", "history", "documents", "failures")
_TABLES = tuple(
    Suggestion(name, "table")
    for name in dict.fromkeys((*_FIRST_TABLES, *(table.name for table in TABLES)))
)
_TABLE_MACROS = tuple(
    Suggestion(f"{m.name}('", "macro", f"{', '.join(m.parameters)}") for m in MACROS if m.is_table
)
_SCALAR_MACROS = tuple(
    Suggestion(f"{m.name}('", "macro", f"{', '.join(m.parameters)}")
    for m in MACROS
    if not m.is_table
)
_EXPRESSION_WORDS = (
    *(Suggestion(f"{name}(", "function") for name in _FUNCTIONS),
    *_SCALAR_MACROS,
    *(Suggestion(name, "keyword") for name in _KEYWORDS),
)


def _quote_reserved(name: str) -> str:
    return f'"{name}"' if name in _RESERVED else name


_COLUMNS = {
    **{
        table.name: tuple(
            Suggestion(
                _quote_reserved(name), "column", kind.removesuffix(" WITH TIME ZONE").lower()
            )
            for name, kind in table.columns
        )
        for table in TABLES
    },
    **{m.name: tuple(Suggestion(_quote_reserved(n), "column") for n in m.columns) for m in MACROS},
}
"""Columns by the name of their table or macro."""

_INSIDE_STRING = re.compile(r"""(?:[^'"]|'[^']*'|"[^"]*")*'([^']*)""")
_PROJECTION_ARGUMENT = re.compile(rf"\b({'|'.join(macro.name for macro in MACROS)})\(\s*'$")
_TYPED_WORD = re.compile(r'(?:(\w+)\.)?("?\w*)$')
_BEFORE_TABLE = re.compile(r"\b(from|join|describe|summarize)\s+$", re.IGNORECASE)


def complete_query(text: str, cursor: int, projections: Sequence[str]) -> Completion | None:
    """Return completions at the cursor, an index into `text`, or None if there are none.

    `projections` are the names to suggest as the first argument of a macro.
    """
    before = text[:cursor]
    if inside := _INSIDE_STRING.fullmatch(before):
        start = inside.start(1)
        if not _PROJECTION_ARGUMENT.search(before[:start]):
            return None
        return _filter_suggestions(
            start, inside[1], (Suggestion(f"{name}'", "projection") for name in projections)
        )
    typed = _TYPED_WORD.search(before)
    if typed is None:
        return None
    table, word = typed.groups()
    start, ahead = typed.start(2), before[: typed.start()]
    if table is not None:
        return _filter_suggestions(start, word, _suggest_columns_of(table, text))
    if _BEFORE_TABLE.search(ahead):
        return _filter_suggestions(start, word, (*_TABLES, *_TABLE_MACROS))
    if not word:
        return None
    return _filter_suggestions(
        start, word, (*_suggest_named_columns(text), *_EXPRESSION_WORDS, *_TABLES, *_TABLE_MACROS)
    )


def _filter_suggestions(start: int, typed: str, words: Iterable[Suggestion]) -> Completion | None:
    prefix = typed.lstrip('"').lower()
    found = {word.text: word for word in words if word.text.lstrip('"').lower().startswith(prefix)}
    if not found or list(found) == [typed]:
        return None
    return Completion(start, tuple(found.values())[:_MAX_SUGGESTIONS])


def _suggest_columns_of(table: str, text: str) -> Iterator[Suggestion]:
    """Yield the columns of a table, given its name or its alias in this query."""
    if table.lower() in _COLUMNS:
        yield from _COLUMNS[table.lower()]
        return
    named = rf"\b(\w+)(?:\([^()]*\))?\s+(?:as\s+)?{re.escape(table)}\b"
    for known in re.findall(named, text, re.IGNORECASE):
        yield from _COLUMNS.get(known.lower(), ())


def _suggest_named_columns(text: str) -> Iterator[Suggestion]:
    """Yield the columns of all tables that a query names."""
    for name in re.findall(r"\w+", text):
        yield from _COLUMNS.get(name.lower(), ())
