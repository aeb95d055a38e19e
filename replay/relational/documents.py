"""Rows of a query as documents: the column `key` is the key, the others are the state, as JSON.

DuckDB writes the JSON, for a Polars frame too, so both give the same bytes. Numbers keep their
digits; what JSON has no word for is written by the rules of `replay.worker.encoding`.
"""

from collections.abc import Sequence

import duckdb

from storage.errors import ProjectionError

NOW = "documents_now"
"""The table of documents that an answer leaves: `key` and `state`."""

_KEY = "key"
_NO_NUMBER = r"[:,\[]-?(NaN|Infinity)"
"""What DuckDB writes, and reads, but no JSON is."""
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
    if not columns:
        return "'{}'"
    doubles = [_quoted(name) for name, kind in columns if kind in ("DOUBLE", "FLOAT")]
    usual = _json([(name, _shown(name, kind)) for name, kind in columns])
    if not doubles:
        return usual
    with_words = _json([(name, _worded(name, kind)) for name, kind in columns])
    finite = " AND ".join(f"coalesce(isfinite({name}), true)" for name in doubles)
    return f"CASE WHEN {finite} THEN {usual} ELSE {with_words} END"


def _json(members: Sequence[tuple[str, str]]) -> str:
    packed = ", ".join(f"{_text(name)}: {value}" for name, value in members)
    return f"CAST(to_json({{{packed}}}) AS VARCHAR)"


def _shown(name: str, kind: str) -> str:
    quoted = _quoted(name)
    if kind == "BLOB":
        return f"to_base64({quoted})"
    if kind.startswith("TIMESTAMP"):
        return f"replace(CAST({quoted} AS VARCHAR), ' ', 'T')"
    return quoted


def _worded(name: str, kind: str) -> str:
    """As `_shown`, with words for what isn't a finite number."""
    if kind not in ("DOUBLE", "FLOAT"):
        return _shown(name, kind)
    quoted = _quoted(name)
    word = f"CASE WHEN isnan({quoted}) THEN 'NaN' WHEN {quoted} > 0 THEN 'Infinity' ELSE '-Infinity' END"
    return f"CASE WHEN isfinite({quoted}) THEN to_json({quoted}) ELSE to_json({word}) END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
