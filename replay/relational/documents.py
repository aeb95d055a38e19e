"""Rows of a query as documents: the column `key` is the key, the others are the state, as JSON.

DuckDB writes the JSON, for a Polars frame too, so both give the same bytes. Numbers keep their
digits; what JSON has no word for is written by the rules of `replay.worker.encoding`.
"""

import json
import re
from collections.abc import Sequence

import duckdb

from storage.errors import ProjectionError

NOW = "documents_now"
"""The table of documents that an answer leaves: `key` and `state`."""

_KEY = "key"
_NO_NUMBER = r"[:,\[]-?(NaN|Infinity)"
"""What DuckDB writes, and reads, but no JSON is."""
_WRITTEN_ALIKE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BOOLEAN|DECIMAL\(.*\)|JSON")
"""Types whose values DuckDB writes as JSON does."""
_STRING = r'"(?:[^"\\]|\\.)*"'


class StrangeAnswerError(Exception):
    """An answer that is no documents; the message says what is wrong, as in `it …`."""


def keep(connection: duckdb.DuckDBPyConnection, rows: str, what: str) -> None:
    """Make the rows of a query (SQL) the documents of `NOW`.

    `what` names the projection. Raises `ProjectionError` where there is no key column, and
    `StrangeAnswerError` where a key is missing or there twice.
    """
    described = connection.execute(f"DESCRIBE (\n{rows}\n)").fetchall()
    columns = [(str(row[0]), str(row[1])) for row in described]
    key = next((name for name, _ in columns if name.lower() == _KEY), None)
    if key is None:
        there = ", ".join(name for name, _ in columns)
        raise ProjectionError(
            f"{what} gives no column called key, which says whose state a row is; it gives {there}."
        )
    state = _state([(name, kind) for name, kind in columns if name != key])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {NOW} AS SELECT CAST({_quoted(key)} AS VARCHAR) AS key,"
        f" {state} AS state FROM (\n{rows}\n)"
    )
    _refuse(connection)


def _refuse(connection: duckdb.DuckDBPyConnection) -> None:
    ((rows, named, keys),) = connection.execute(
        f"SELECT count(*), count(key), count(DISTINCT key) FROM {NOW}"
    ).fetchall()
    if named < rows:
        raise StrangeAnswerError("gives a document whose key is NULL")
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
            f"gives the document {odd[0][0]!r} a number in a list or struct that JSON can't hold"
        )


def _state(columns: Sequence[tuple[str, str]]) -> str:
    """Each member by itself, as a struct in one would lose zeros at the end of decimals."""
    members = []
    for n, (name, kind) in enumerate(columns):
        before = ("," if n else "{") + json.dumps(name, ensure_ascii=False) + ":"
        members.append(f"{_text(before)}, coalesce({_member(_quoted(name), kind)}, 'null')")
    return f"concat({', '.join(members)}, '}}')" if members else "'{}'"


def _member(value: str, kind: str) -> str:
    """SQL for a value's JSON; NULL where there is none."""
    if _WRITTEN_ALIKE.fullmatch(kind):
        return f"CAST({value} AS VARCHAR)"
    if kind in ("DOUBLE", "FLOAT"):
        word = f"CASE WHEN isnan({value}) THEN 'NaN' WHEN {value} > 0 THEN 'Infinity' ELSE '-Infinity' END"
        return f"CASE WHEN isfinite({value}) THEN {_json(value)} ELSE '\"' || {word} || '\"' END"
    if kind == "BLOB":
        return _json(f"to_base64({value})")
    if kind.startswith("TIMESTAMP"):
        return _json(f"replace(CAST({value} AS VARCHAR), ' ', 'T')")
    return _json(value)


def _json(value: str) -> str:
    return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
