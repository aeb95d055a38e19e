"""Turns the rows of a query into documents: the column `key` is the key, the others are the state.

DuckDB writes the state as JSON, for a Polars frame too, so both give the same bytes. Numbers keep
their digits; values that JSON can't hold are written by the rules of
`replay.worker.protocol.encoding`. Rows with a NULL key are skipped.
"""

import json
from collections import Counter
from collections.abc import Sequence

import duckdb
from duckdb.sqltypes import DuckDBPyType

from storage.errors import ProjectionError
from storage.quoting import quote_identifier, quote_literal

DOCUMENTS_TABLE = "documents_now"
"""The temporary table that an evaluation writes: `key` and `state`."""

_KEY_COLUMN = "key"
_INVALID_NUMBER_PATTERN = r"[:,\[]\s*-?(NaN|Infinity)"
"""Numbers that DuckDB accepts in JSON although the JSON standard doesn't."""
_STRING_PATTERN = r'"(?:[^"\\]|\\.)*"'
_JSON_COMPATIBLE_TYPES = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger")
    + ("ubigint", "uhugeint", "boolean", "decimal")
)
"""Types whose text in DuckDB is valid JSON."""
_NESTED_TYPES = frozenset(("list", "array", "struct", "map"))


class InvalidDocumentsError(Exception):
    """A result that isn't a set of documents; the message continues a sentence: "<name> gives …"."""


def create_documents_table(
    connection: duckdb.DuckDBPyConnection, rows: str, projection_name: str
) -> None:
    """Write the rows of a query (SQL) as documents to `DOCUMENTS_TABLE`.

    Raises `ProjectionError` if there is no column `key` or two columns have the same name, and
    `InvalidDocumentsError` if a key occurs twice or a JSON value contains NaN or Infinity.
    """
    described = connection.sql(rows)
    columns = list(zip(described.columns, described.types, strict=True))
    names = Counter(name.lower() for name, _ in columns)
    duplicate = next((name for name, count in names.items() if count > 1), None)
    if duplicate is not None:
        raise ProjectionError(
            f"{projection_name} gives two columns called {duplicate!r} (upper and lower case are the same)."
            " Rename one of them."
        )
    if _KEY_COLUMN not in names:
        available = ", ".join(name for name, _ in columns)
        raise ProjectionError(
            f"{projection_name} gives no column called key; it gives {available}."
            " Name the column with the document's key: key."
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
    """Return SQL for a JSON object, member by member: a struct would drop trailing zeros of decimals."""
    parts = []
    for n, (name, value) in enumerate(members):
        before = ("," if n else "{") + json.dumps(name, ensure_ascii=False) + ":"
        parts.append(f"{quote_literal(before)}, coalesce({value}, 'null')")
    return f"concat({', '.join(parts)}, '}}')" if members else "'{}'"


def _member_sql(value: str, kind: DuckDBPyType, depth: int = 0) -> str:
    """Return SQL for the JSON of a value; it gives NULL for NULL."""
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
        # In JSON, a line break can only be white space between tokens.
        return f"translate(CAST({value} AS VARCHAR), chr(10) || chr(13), '  ')"
    return _nested_sql(value, kind, depth) if name in _NESTED_TYPES else _to_json_sql(value)


def _nested_sql(value: str, kind: DuckDBPyType, depth: int) -> str:
    # The children of an array type include its length, which isn't a type.
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
