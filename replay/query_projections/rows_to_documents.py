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
from storage.quoting import quote_identifier, quote_literal

DOCUMENTS_TABLE = "documents_now"
"""The table of documents that an answer leaves: `key` and `state`."""

_KEY_COLUMN = "key"
_INVALID_NUMBER_PATTERN = r"[:,\[]\s*-?(NaN|Infinity)"
"""What DuckDB reads as JSON, but no JSON is."""
_STRING_PATTERN = r'"(?:[^"\\]|\\.)*"'
_JSON_COMPATIBLE_TYPES = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger")
    + ("ubigint", "uhugeint", "boolean", "decimal")
)
"""Types whose values DuckDB writes as JSON does."""
_NESTED_TYPES = frozenset(("list", "array", "struct", "map"))


class InvalidDocumentsError(Exception):
    """An answer that is no documents; the message says what is wrong, as in `it …`."""


def create_documents_table(
    connection: duckdb.DuckDBPyConnection, rows: str, projection_name: str
) -> None:
    """Make the rows of a query (SQL) the documents of `DOCUMENTS_TABLE`.

    `what` names the projection. Raises `ProjectionError` where there is no key column, or two
    columns have one name, and `InvalidDocumentsError` where a key is there twice.
    """
    described = connection.sql(rows)
    columns = list(zip(described.columns, described.types, strict=True))
    names = Counter(name.lower() for name, _ in columns)
    duplicate = next((name for name, count in names.items() if count > 1), None)
    if duplicate is not None:
        raise ProjectionError(
            f"{projection_name} gives two columns called {duplicate!r}, in capitals or not; name them apart."
        )
    if _KEY_COLUMN not in names:
        available = ", ".join(name for name, _ in columns)
        raise ProjectionError(
            f"{projection_name} gives no column called key, which says whose state a row is;"
            f" it gives {available}."
        )
    state = _state_sql([(name, kind) for name, kind in columns if name.lower() != _KEY_COLUMN])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {DOCUMENTS_TABLE} AS SELECT CAST({_KEY_COLUMN} AS VARCHAR) AS key,"
        f" {state} AS state FROM (\n{rows}\n) WHERE {_KEY_COLUMN} IS NOT NULL"
    )
    _raise_for_invalid_documents(connection)


def _raise_for_invalid_documents(connection: duckdb.DuckDBPyConnection) -> None:
    ((rows, keys),) = connection.execute(
        f"SELECT count(*), count(DISTINCT key) FROM {DOCUMENTS_TABLE}"
    ).fetchall()
    if keys < rows:
        ((duplicate,),) = connection.execute(
            f"SELECT key FROM {DOCUMENTS_TABLE} GROUP BY key HAVING count(*) > 1 LIMIT 1"
        ).fetchall()
        raise InvalidDocumentsError(f"gives two documents with the key {duplicate!r}")
    invalid = connection.execute(
        f"SELECT key FROM {DOCUMENTS_TABLE} WHERE regexp_matches(state, ?)"
        " AND regexp_matches(regexp_replace(state, ?, '', 'g'), ?) LIMIT 1",
        [_INVALID_NUMBER_PATTERN, _STRING_PATTERN, _INVALID_NUMBER_PATTERN],
    ).fetchall()
    if invalid:
        raise InvalidDocumentsError(
            f"gives the document {invalid[0][0]!r} a value with NaN or Infinity, which JSON can't hold"
        )


def _state_sql(columns: Sequence[tuple[str, DuckDBPyType]]) -> str:
    return _object_sql(
        [(name, _member_sql(quote_identifier(name), kind)) for name, kind in columns]
    )


def _object_sql(members: Sequence[tuple[str, str]]) -> str:
    """SQL for a JSON object; each member by itself, as a struct would lose zeros of decimals."""
    parts = []
    for n, (name, value) in enumerate(members):
        before = ("," if n else "{") + json.dumps(name, ensure_ascii=False) + ":"
        parts.append(f"{quote_literal(before)}, coalesce({value}, 'null')")
    return f"concat({', '.join(parts)}, '}}')" if members else "'{}'"


def _member_sql(value: str, kind: DuckDBPyType, depth: int = 0) -> str:
    """SQL for a value's JSON; NULL where there is none."""
    name = kind.id
    if name in _JSON_COMPATIBLE_TYPES:
        return f"CAST({value} AS VARCHAR)"
    if name in ("double", "float"):
        word = f"WHEN isnan({value}) THEN 'NaN' WHEN {value} > 0 THEN 'Infinity'"
        odd = f"'\"' || CASE {word} ELSE '-Infinity' END || '\"'"
        return f"CASE WHEN isfinite({value}) THEN {_to_json_sql(value)} ELSE {odd} END"
    if name == "blob":
        return _to_json_sql(f"to_base64({value})")
    if name.startswith("timestamp"):
        return _to_json_sql(f"replace(CAST({value} AS VARCHAR), ' ', 'T')")
    if str(kind) == "JSON":
        # A line break in it can only be between its parts.
        return f"translate(CAST({value} AS VARCHAR), chr(10) || chr(13), '  ')"
    return _nested_sql(value, kind, depth) if name in _NESTED_TYPES else _to_json_sql(value)


def _nested_sql(value: str, kind: DuckDBPyType, depth: int) -> str:
    # The length of an array stands among its children.
    children = {name: k for name, k in kind.children if isinstance(k, DuckDBPyType)}
    one = f"e{depth}"
    if kind.id == "struct":
        inside = _object_sql(
            [
                (n, _member_sql(f"{value}[{quote_literal(n)}]", k, depth))
                for n, k in children.items()
            ]
        )
        return f"CASE WHEN {value} IS NOT NULL THEN {inside} END"
    if kind.id == "map":
        key = f"CAST(to_json(CAST({one}.key AS VARCHAR)) AS VARCHAR)"
        member = _member_sql(f"{one}.value", children["value"], depth + 1)
        items, ends = f"map_entries({value})", "{}"
        text = f"{key} || ':' || coalesce({member}, 'null')"
    else:
        items, ends = value, "[]"
        text = f"coalesce({_member_sql(one, children['child'], depth + 1)}, 'null')"
    joined = f"array_to_string(list_transform({items}, lambda {one}: {text}), ',')"
    return f"CASE WHEN {value} IS NOT NULL THEN '{ends[0]}' || {joined} || '{ends[1]}' END"


def _to_json_sql(value: str) -> str:
    return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"
