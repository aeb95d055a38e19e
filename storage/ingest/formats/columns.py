"""The SQL from typed columns to the fields of events, shared by all formats with columns.

A mapped column becomes its text. The other columns become one JSON object in which integers and
decimals keep their digits. A text column that is mapped to `data` or `meta` and holds JSON is used
unchanged.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.formats import LINE_COLUMN, SAMPLE_RECORDS, FieldSql, NotAnEventError, ReadPass
from storage.ingest.formats.sql_compiler import CompiledMapping
from storage.ingest.mapping import FIELDS, FieldMapping, Record
from storage.ingest.mapping.expressions import FieldPath, PathValue, iterate_leaves
from storage.quoting import quote_identifier, quote_literal

BATCH_ROWS = 65_536

_EVENT_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in FIELDS), ("skipped", pa.bool_()), (LINE_COLUMN, pa.int64())]
)
_TIME_INDEX = _EVENT_SCHEMA.get_field_index("time")
TIME_TYPE = pa.timestamp("us", "UTC")
"""The type of the field `time` if a column holds times; it is text for all other columns."""


class ColumnFormat:
    """Base of formats that DuckDB reads: their batches already hold the fields of events."""

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:  # noqa: ARG002 - `read_batches` has used it
        texts = {field: f'"{field}"' for field in FIELDS}
        moment = '"time"' if pa.types.is_timestamp(schema.field("time").type) else None
        return FieldSql(texts, moment, is_good_sql="NOT skipped", raw_sql="coalesce(data, '')")

    def repair_row(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:  # noqa: ARG002 - the only such rows are those that the source skips
        raise NotAnEventError(f"{mapping.envelope_names[0]} marks the record as skipped")


_EXACT_NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "UTINYINT")
_FURTHER_LITERAL_TYPES = ("USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "BOOLEAN")
_JSON_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def connect_reader() -> duckdb.DuckDBPyConnection:
    """Return a new in-memory DuckDB connection for reading files; it never opens a workspace."""
    connection = duckdb.connect(config={"memory_limit": "512MB", "threads": 2})
    connection.execute(
        "SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false;"
        " SET enable_progress_bar = false"
    )
    return connection


def read_column_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Return the DuckDB type of each column of a relation, which is given as SQL."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in described}


def read_sample_records(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]
) -> Sequence[Record]:
    """Return the first records; nested values are Python values, all others text or numbers."""
    rows: list[dict[str, Any]] = sample_table(connection, relation, types).to_pylist()
    return rows


def sample_table(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]
) -> pa.Table:
    """Return the records of `read_sample_records` as a table."""
    columns = ", ".join(
        quote_identifier(c)
        if _is_nested(t) or t in _EXACT_NUMBER_TYPES
        else f"coalesce(try(decode({quote_identifier(c)})), base64({quote_identifier(c)}))"
        f" AS {quote_identifier(c)}"
        if t == "BLOB"
        else f"CAST({quote_identifier(c)} AS VARCHAR) AS {quote_identifier(c)}"
        for c, t in types.items()
    )
    return connection.sql(
        f"SELECT {columns} FROM {relation} LIMIT {SAMPLE_RECORDS}"
    ).to_arrow_table()


def read_event_batches(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    types: Mapping[str, str],
    mapping: FieldMapping,
    reading: ReadPass,
    *,
    first_line: int = 1,
) -> Iterator[pa.RecordBatch]:
    """Yield the relation's rows as batches of event fields, and count `reading.line_count`.

    The line of the first row is `first_line`, for a file that begins with a header.
    """
    reading.line_count = reading.start_line
    relation_batches = connection.sql(build_event_query(types, mapping, relation)).to_arrow_reader(
        BATCH_ROWS
    )
    for batch in cast_to_event_schema(relation_batches):
        line = pa.array(np.arange(batch.num_rows) + reading.line_count + first_line)
        reading.line_count += batch.num_rows
        yield batch.set_column(batch.num_columns - 1, _EVENT_SCHEMA.field(LINE_COLUMN), line)


def build_event_query(
    types: Mapping[str, str], mapping: FieldMapping, relation: str, *, line: str = "0"
) -> str:
    """Return the query from a relation's rows to the fields of events; `line` is SQL of the number."""
    fields = compile_row(types, mapping)
    for stage in fields.stages:
        relation = f"(SELECT *, {stage} FROM {relation})"
    field_sql = {**fields.text_by_field, **({"time": fields.time_sql} if fields.time_sql else {})}
    select_list = ", ".join(
        f"{field_sql.get(field, 'CAST(NULL AS VARCHAR)')} AS {quote_identifier(field)}"
        for field in FIELDS
    )
    return (
        f"SELECT {select_list}, NOT ({fields.is_good_sql}) AS skipped, CAST({line} AS BIGINT) AS {LINE_COLUMN}"
        f" FROM {relation}"
    )


def compile_row(
    types: Mapping[str, str],
    mapping: FieldMapping,
    fragile_columns: Mapping[str, str] = MappingProxyType({}),
) -> FieldSql:
    """Return the SQL from a row with these columns to the fields of an event.

    `fragile_columns` names, for a column, the BOOLEAN column that says whether its text has a number
    that `storage.ingest.formats.number_precision` must protect. For other columns SQL tests the text.
    """
    compiled = CompiledMapping(
        mapping, _ColumnRow(types, list_decoded_columns(mapping), fragile_columns)
    )
    texts = compiled.compile_fields()
    raw = f"coalesce({texts['data']}, '')" if "data" in texts else "''"
    good, stages = f"NOT {compiled.is_skipped_sql}", compiled.compile_stages()
    return FieldSql(texts, _time_column_sql(types, mapping), good, raw, stages)


def list_json_columns(types: Mapping[str, str], mapping: FieldMapping) -> list[str]:
    """Return the columns whose JSON is parsed into members."""
    return [
        str(path[0])
        for path in CompiledMapping(mapping, _ColumnRow(types)).parsed_paths
        if len(path) == 1
    ]


def _time_column_sql(types: Mapping[str, str], mapping: FieldMapping) -> str | None:
    """Return `time` as TIMESTAMPTZ if a column holds it so, because a detour over text is slow."""
    expression = mapping.expression_for("time")
    if not isinstance(expression, PathValue) or {"time"} & {*mapping.decoders, *mapping.redacted}:
        return None
    column, *inside = expression.path
    if inside or types.get(str(column)) != "TIMESTAMP WITH TIME ZONE":
        return None
    column_sql = quote_identifier(str(column))
    return f"CASE WHEN isfinite({column_sql}) THEN {column_sql} END"


def list_decoded_columns(mapping: FieldMapping) -> set[str]:
    """Return the columns of the fields that have a decoder."""
    expressions = [mapping.expression_for(field) for field in mapping.decoders]
    return {
        str(leaf.path[0])
        for e in expressions
        if e is not None
        for leaf in iterate_leaves(e)
        if leaf.path
    }


def cast_to_event_schema(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the result of `build_event_query` in the schema that all column formats share."""
    for batch in batches:
        schema = _EVENT_SCHEMA
        if pa.types.is_timestamp(batch.schema.field(_TIME_INDEX).type):
            schema = schema.set(_TIME_INDEX, pa.field("time", TIME_TYPE))
        yield batch.cast(schema)


def checked(batch: pa.RecordBatch, path: str, kind: str) -> pa.RecordBatch:
    """Return a batch from the parser process in the event schema.

    Raises `SourceError` if its columns have other types.
    """
    expected = _EVENT_SCHEMA
    if len(batch.schema) > _TIME_INDEX and batch.schema.field(_TIME_INDEX).type == TIME_TYPE:
        expected = expected.set(_TIME_INDEX, pa.field("time", TIME_TYPE))
    # Compare types only: each process chooses a random name for the line column.
    if batch.schema.types != expected.types:
        raise SourceError(
            f"{path} can't be read as {kind}: its parser sent other columns than requested. The file"
            " is damaged or malicious; write it again from its source."
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=expected)


class _ColumnRow:
    """A row of typed columns, as the root from which `CompiledMapping` reads."""

    reaches_into_objects = False

    def __init__(
        self,
        types: Mapping[str, str],
        opaque_columns: Collection[str] = (),
        fragile_columns: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Bytes in `opaque_columns` are passed to a decoder as base64, and never read as text."""
        self._types = types
        self._opaque_columns = opaque_columns
        self._fragile_columns = fragile_columns

    def request_path(self, path: FieldPath, kind: str) -> None:
        """Do nothing: a row has all its columns."""

    def request_presence(self, path: FieldPath) -> None:
        """Do nothing: a row has all its columns."""

    def has_value_sql(self, path: FieldPath) -> str:
        column = str(path[0])
        return f"({quote_identifier(column)} IS NOT NULL)" if column in self._types else "false"

    def has_fragile_number_sql(self, path: FieldPath) -> str | None:
        return self._fragile_columns.get(str(path[0])) if len(path) == 1 else None

    def text_sql(self, path: FieldPath) -> str:
        kind = self._types.get(str(path[0]))
        column = quote_identifier(str(path[0]))
        if kind is None:  # only another file of the log has this column
            return "CAST(NULL AS VARCHAR)"
        if kind == "BLOB":
            return f"coalesce(try(decode({column})), hex({column}))"
        return f"CAST({column} AS VARCHAR)"

    def json_sql(self, path: FieldPath) -> str:
        column = str(path[0])
        kind = self._types.get(column)
        if kind == "BLOB" and column in self._opaque_columns:
            return f"CAST(to_json(base64({quote_identifier(column)})) AS VARCHAR)"
        return "CAST(NULL AS VARCHAR)" if kind is None else _payload_sql(column, kind)

    def rest_sql(self, excluded: Sequence[str]) -> str:
        members = [
            f"{quote_literal(_json_key(column))} || {_json_value_sql(column, kind)}"
            for column, kind in self._types.items()
            if column not in excluded and kind != ROW_NUMBER
        ]
        if not members:
            return "'{}'"
        return " || ',' || ".join(["'{' || " + members[0], *members[1:]]) + " || '}'"


def _json_key(column: str) -> str:
    return msgspec.json.encode(column).decode() + ":"


def _json_value_sql(column: str, kind: str) -> str:
    quoted = quote_identifier(column)
    if kind == NUMBER_TEXT:
        number = f"regexp_full_match({quoted}, '{_JSON_NUMBER}')"
        value = f"CASE WHEN {number} THEN {quoted} ELSE to_json({quoted}) END"
    elif kind == BOOLEAN_TEXT:
        truth = f"lower({quoted}) IN ('true', 'false')"
        value = f"CASE WHEN {truth} THEN lower({quoted}) ELSE to_json({quoted}) END"
    elif (
        kind.startswith(_EXACT_NUMBER_TYPES + _FURTHER_LITERAL_TYPES) and not kind.endswith("]")
    ) or kind in (
        "JSON",
        CHECKED_JSON,
    ):
        value = f"CAST({quoted} AS VARCHAR)"
    elif kind == "BLOB":
        value = f"to_json(base64({quoted}))"
    elif kind in ("DOUBLE", "FLOAT"):
        # JSON has no NaN and no infinity; write them as Python's json module does. Don't use to_json
        # for a FLOAT: it converts to a double, and adds digits that the source doesn't have.
        finite = quoted if kind == "FLOAT" else f"to_json({quoted})"
        value = (
            f"CASE WHEN isnan({quoted}) THEN 'NaN' WHEN isinf({quoted}) THEN"
            f" CASE WHEN {quoted} > 0 THEN 'Infinity' ELSE '-Infinity' END"
            f" ELSE CAST({finite} AS VARCHAR) END"
        )
    else:
        value = f"to_json({quoted})"
    return f"coalesce(CAST({value} AS VARCHAR), 'null')"


def _payload_sql(column: str, kind: str) -> str:
    quoted = quote_identifier(column)
    if kind == CHECKED_JSON:
        return quoted
    if kind == "BLOB":
        text = f"try(decode({quoted}))"
        readable = f"coalesce({text}, base64({quoted}))"
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({readable}) AS VARCHAR) END"
    if kind in ("VARCHAR", "JSON", NUMBER_TEXT, BOOLEAN_TEXT):
        text = f"CAST({quoted} AS VARCHAR)"
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"
    return _json_value_sql(column, kind)


def _is_nested(kind: str) -> bool:
    return kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")


NUMBER_TEXT = "text of a number"
"""Kind of a text column whose values look like numbers (CSV)."""
BOOLEAN_TEXT = "text of a boolean"
"""Kind of a text column whose values look like true and false (CSV)."""
CHECKED_JSON = "JSON that the source has checked"
"""Kind of a text column of valid JSON, which is used without another check."""
ROW_NUMBER = "a row's number in its file"
"""Kind of a column that only numbers the rows, and is not a value of the record."""
