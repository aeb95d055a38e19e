"""Rows of a query as documents: the column `key` is the key, the others are the state, as JSON.

DuckDB writes the JSON, for a Polars frame too, so both give the same bytes. Numbers keep their
digits; what JSON has no word for is written by the rules of `replay.worker.protocol.encoding`. A row whose
key is NULL is nobody's.
"""

import json
from collections import Counter
from collections.abc import Sequence

import duckdb
from duckdb.sqltypes import DuckDBPyType

from storage.errors import ProjectionError
from storage.quoting import identifier, quoted

NOW = "documents_now"
"""The table of documents that an answer leaves: `key` and `state`."""

_KEY = "key"
_NO_NUMBER = r"[:,\[]\s*-?(NaN|Infinity)"
"""What DuckDB reads as JSON, but no JSON is."""
_STRING = r'"(?:[^"\\]|\\.)*"'
_WRITTEN_ALIKE = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger")
    + ("ubigint", "uhugeint", "boolean", "decimal")
)
"""Types whose values DuckDB writes as JSON does."""
_NESTED = frozenset(("list", "array", "struct", "map"))


class StrangeAnswerError(Exception):
    """An answer that is no documents; the message says what is wrong, as in `it …`."""


def keep(connection: duckdb.DuckDBPyConnection, rows: str, what: str) -> None:
    """Make the rows of a query (SQL) the documents of `NOW`.

    `what` names the projection. Raises `ProjectionError` where there is no key column, or two
    columns have one name, and `StrangeAnswerError` where a key is there twice.
    """
    described = connection.sql(rows)
    columns = list(zip(described.columns, described.types, strict=True))
    names = Counter(name.lower() for name, _ in columns)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ProjectionError(
            f"{what} gives two columns called {twice!r}, in capitals or not; name them apart."
        )
    if _KEY not in names:
        there = ", ".join(name for name, _ in columns)
        raise ProjectionError(
            f"{what} gives no column called key, which says whose state a row is; it gives {there}."
        )
    state = _state([(name, kind) for name, kind in columns if name.lower() != _KEY])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {NOW} AS SELECT CAST({_KEY} AS VARCHAR) AS key,"
        f" {state} AS state FROM (\n{rows}\n) WHERE {_KEY} IS NOT NULL"
    )
    _refuse(connection)


def _refuse(connection: duckdb.DuckDBPyConnection) -> None:
    ((rows, keys),) = connection.execute(
        f"SELECT count(*), count(DISTINCT key) FROM {NOW}"
    ).fetchall()
    if keys < rows:
        ((twice,),) = connection.execute(
            f"SELECT key FROM {NOW} GROUP BY key HAVING count(*) > 1 LIMIT 1"
        ).fetchall()
        raise StrangeAnswerError(f"gives two documents with the key {twice!r}")
    odd = connection.execute(
        f"SELECT key FROM {NOW} WHERE regexp_matches(state, ?)"
        " AND regexp_matches(regexp_replace(state, ?, '', 'g'), ?) LIMIT 1",
        [_NO_NUMBER, _STRING, _NO_NUMBER],
    ).fetchall()
    if odd:
        raise StrangeAnswerError(
            f"gives the document {odd[0][0]!r} a value with NaN or Infinity, which JSON can't hold"
        )


def _state(columns: Sequence[tuple[str, DuckDBPyType]]) -> str:
    return _object([(name, _member(identifier(name), kind)) for name, kind in columns])


def _object(members: Sequence[tuple[str, str]]) -> str:
    """SQL for a JSON object; each member by itself, as a struct would lose zeros of decimals."""
    parts = []
    for n, (name, value) in enumerate(members):
        before = ("," if n else "{") + json.dumps(name, ensure_ascii=False) + ":"
        parts.append(f"{quoted(before)}, coalesce({value}, 'null')")
    return f"concat({', '.join(parts)}, '}}')" if members else "'{}'"


def _member(value: str, kind: DuckDBPyType, depth: int = 0) -> str:
    """SQL for a value's JSON; NULL where there is none."""
    name = kind.id
    if name in _WRITTEN_ALIKE:
        return f"CAST({value} AS VARCHAR)"
    if name in ("double", "float"):
        word = f"WHEN isnan({value}) THEN 'NaN' WHEN {value} > 0 THEN 'Infinity'"
        odd = f"'\"' || CASE {word} ELSE '-Infinity' END || '\"'"
        return f"CASE WHEN isfinite({value}) THEN {_json(value)} ELSE {odd} END"
    if name == "blob":
        return _json(f"to_base64({value})")
    if name.startswith("timestamp"):
        return _json(f"replace(CAST({value} AS VARCHAR), ' ', 'T')")
    if str(kind) == "JSON":
        # A line break in it can only be between its parts.
        return f"translate(CAST({value} AS VARCHAR), chr(10) || chr(13), '  ')"
    return _nested(value, kind, depth) if name in _NESTED else _json(value)


def _nested(value: str, kind: DuckDBPyType, depth: int) -> str:
    # The length of an array stands among its children.
    children = {name: k for name, k in kind.children if isinstance(k, DuckDBPyType)}
    one = f"e{depth}"
    if kind.id == "struct":
        inside = _object(
            [(n, _member(f"{value}[{quoted(n)}]", k, depth)) for n, k in children.items()]
        )
        return f"CASE WHEN {value} IS NOT NULL THEN {inside} END"
    if kind.id == "map":
        key = f"CAST(to_json(CAST({one}.key AS VARCHAR)) AS VARCHAR)"
        member = _member(f"{one}.value", children["value"], depth + 1)
        items, ends = f"map_entries({value})", "{}"
        text = f"{key} || ':' || coalesce({member}, 'null')"
    else:
        items, ends = value, "[]"
        text = f"coalesce({_member(one, children['child'], depth + 1)}, 'null')"
    joined = f"array_to_string(list_transform({items}, lambda {one}: {text}), ',')"
    return f"CASE WHEN {value} IS NOT NULL THEN '{ends[0]}' || {joined} || '{ends[1]}' END"


def _json(value: str) -> str:
    return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"
