"""Formats whose records have typed columns: what they share is the SQL from columns to event fields.

A column that is mapped becomes its text. The rest become one JSON object, in which integers and
decimals keep their digits, and text that holds JSON where `data` is expected is taken as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from storage.formats import SAMPLE, Fields, Reading, UnfitError
from storage.mapping import FIELDS, FieldMapping, Record
from storage.quoting import quoted

BATCH = 65_536

_SCHEMA = pa.schema([*((name, pa.string()) for name in FIELDS), ("line", pa.int64())])


class Columns:
    """What the formats with typed columns share: their batches already hold an event's fields."""

    def fields(self, mapping: FieldMapping) -> Fields:  # noqa: ARG002 - it was used for the batches
        return Fields({field: f'"{field}"' for field in FIELDS})

    def second_look(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:  # noqa: ARG002
        raise UnfitError(f"not a record: {raw[:40]}")


_DIGITS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "UTINYINT")
_MORE_DIGITS = ("USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "BOOLEAN")
_JSON_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own for reading files; it never sees a workspace."""
    connection = duckdb.connect(config={"memory_limit": "512MB", "threads": 2})
    connection.execute("SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false")
    return connection


def types_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and DuckDB types of a relation, given as SQL."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in described}


def sample(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]
) -> Sequence[Record]:
    """The first records, with nested values as Python's and all others as text or number."""
    columns = ", ".join(
        name(c) if _nested(t) or t in _DIGITS else f"CAST({name(c)} AS VARCHAR) AS {name(c)}"
        for c, t in types.items()
    )
    found = connection.sql(f"SELECT {columns} FROM {relation} LIMIT {SAMPLE}")
    rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return rows


def batches(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    types: Mapping[str, str],
    mapping: FieldMapping,
    reading: Reading,
    *,
    first_line: int = 1,
) -> Iterator[pa.RecordBatch]:
    """The relation's rows as batches of event fields; counts `reading.lines`."""
    query = f"SELECT {_select(types, mapping)} FROM {relation}"
    reading.lines = reading.start_line
    for batch in connection.sql(query).to_arrow_reader(BATCH):
        count = batch.num_rows
        line = pa.array(np.arange(count) + reading.lines + first_line)
        reading.lines += count
        arrays = [batch[field].cast(pa.string()) for field in FIELDS]
        yield pa.RecordBatch.from_arrays([*arrays, line], schema=_SCHEMA)


def name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _select(types: Mapping[str, str], mapping: FieldMapping) -> str:
    parts = []
    for field in FIELDS:
        column = mapping.column(field)
        if column is None:
            value = _rest(types, mapping) if field == "data" else "CAST(NULL AS VARCHAR)"
        elif column in types and field in ("data", "meta"):
            value = _payload(column, types[column])
        elif column in types:
            value = f"CAST({name(column)} AS VARCHAR)"
        elif column.split(".")[0] not in types or column in mapping.columns:
            # Another file of the log has it.
            value = "CAST(NULL AS VARCHAR)"
        else:
            outer, *path = column.split(".")
            arrow = quoted("$." + ".".join(f'"{part}"' for part in path))
            value = f"to_json({name(outer)}) ->> {arrow}"
        parts.append(f"{value} AS {name(field)}")
    return ", ".join(parts)


def _rest(types: Mapping[str, str], mapping: FieldMapping) -> str:
    taken = set(mapping.taken)
    members = [
        f"{quoted(_key(column))} || {_as_json(column, kind)}"
        for column, kind in types.items()
        if column not in taken
    ]
    return (
        " || ',' || ".join(["'{' || " + members[0], *members[1:]]) + " || '}'"
        if members
        else "'{}'"
    )


def _key(column: str) -> str:
    return msgspec.json.encode(column).decode() + ":"


def _as_json(column: str, kind: str) -> str:
    quoted = name(column)
    if kind == NUMBER:
        number = f"regexp_full_match({quoted}, '{_JSON_NUMBER}')"
        value = f"CASE WHEN {number} THEN {quoted} ELSE to_json({quoted}) END"
    elif kind == TRUTH:
        truth = f"lower({quoted}) IN ('true', 'false')"
        value = f"CASE WHEN {truth} THEN lower({quoted}) ELSE to_json({quoted}) END"
    elif kind.startswith(_DIGITS + _MORE_DIGITS) and not kind.endswith("]"):
        value = f"CAST({quoted} AS VARCHAR)"
    elif kind == "BLOB":
        value = f"to_json(base64({quoted}))"
    elif kind in ("DOUBLE", "FLOAT"):
        # JSON has no NaN and no infinity; Python's json module reads and writes them so.
        value = (
            f"CASE WHEN isnan({quoted}) THEN 'NaN' WHEN isinf({quoted}) THEN"
            f" CASE WHEN {quoted} > 0 THEN 'Infinity' ELSE '-Infinity' END"
            f" ELSE CAST(to_json({quoted}) AS VARCHAR) END"
        )
    else:
        value = f"to_json({quoted})"
    return f"coalesce(CAST({value} AS VARCHAR), 'null')"


def _payload(column: str, kind: str) -> str:
    quoted = name(column)
    if kind in ("VARCHAR", "JSON", NUMBER, TRUTH):
        text = f"CAST({quoted} AS VARCHAR)"
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"
    return _as_json(column, kind)


def _nested(kind: str) -> bool:
    return kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")


NUMBER = "text of a number"
TRUTH = "text of a truth value"
"""Kinds of a column of text whose values look like numbers or truth values (CSV)."""
