"""Formats whose records have typed columns: what they share is the SQL from columns to event fields.

A column that is mapped becomes its text. The rest become one JSON object, in which integers and
decimals keep their digits, and text that holds JSON where `data` is expected is taken as it is.
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
"""What `time` may be instead of text, where a column holds it as such."""


class ColumnFormat:
    """Files that DuckDB reads: their batches already hold an event's fields."""

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:  # noqa: ARG002 - it was used for the batches
        texts = {field: f'"{field}"' for field in FIELDS}
        moment = '"time"' if pa.types.is_timestamp(schema.field("time").type) else None
        return FieldSql(texts, moment, is_good_sql="NOT skipped", raw_sql="coalesce(data, '')")

    def repair_row(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:  # noqa: ARG002 - only what the source passes over isn't good
        raise NotAnEventError(f"{mapping.envelope_names[0]} passes over it")


_EXACT_NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "UTINYINT")
_FURTHER_LITERAL_TYPES = ("USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "BOOLEAN")
_JSON_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def connect_reader() -> duckdb.DuckDBPyConnection:
    """A connection of its own for reading files; it never sees a workspace."""
    connection = duckdb.connect(config={"memory_limit": "512MB", "threads": 2})
    connection.execute(
        "SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false;"
        " SET enable_progress_bar = false"
    )
    return connection


def read_column_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and DuckDB types of a relation, given as SQL."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in described}


def read_sample_records(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]
) -> Sequence[Record]:
    """The first records, with nested values as Python's and all others as text or number."""
    rows: list[dict[str, Any]] = sample_table(connection, relation, types).to_pylist()
    return rows


def sample_table(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]
) -> pa.Table:
    """Return the same records as a table."""
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
    """The relation's rows as batches of event fields; counts `reading.lines`."""
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
    """SQL from a relation's rows to the fields of events, and the number of each."""
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
    """From a row with these columns to the fields of an event.

    `fragile` says of columns in which other column it stands whether their text has a number that
    `storage.ingest.formats.number_precision` protects; of the others it is found out.
    """
    compiled = CompiledMapping(
        mapping, _ColumnRow(types, list_decoded_columns(mapping), fragile_columns)
    )
    texts = compiled.compile_fields()
    raw = f"coalesce({texts['data']}, '')" if "data" in texts else "''"
    good, stages = f"NOT {compiled.is_skipped_sql}", compiled.compile_stages()
    return FieldSql(texts, _time_column_sql(types, mapping), good, raw, stages)


def list_json_columns(types: Mapping[str, str], mapping: FieldMapping) -> list[str]:
    """The columns whose JSON is taken apart."""
    return [
        str(path[0])
        for path in CompiledMapping(mapping, _ColumnRow(types)).parsed_paths
        if len(path) == 1
    ]


def _time_column_sql(types: Mapping[str, str], mapping: FieldMapping) -> str | None:
    """The field `time`, where it is a column of times: writing and reading them as text takes long."""
    expression = mapping.expression_for("time")
    if not isinstance(expression, PathValue) or {"time"} & {*mapping.decoders, *mapping.redacted}:
        return None
    column, *inside = expression.path
    if inside or types.get(str(column)) != "TIMESTAMP WITH TIME ZONE":
        return None
    column_sql = quote_identifier(str(column))
    return f"CASE WHEN isfinite({column_sql}) THEN {column_sql} END"


def list_decoded_columns(mapping: FieldMapping) -> set[str]:
    """The columns of the fields that are decoded."""
    wanted = [mapping.expression_for(field) for field in mapping.decoders]
    return {
        str(leaf.path[0])
        for e in wanted
        if e is not None
        for leaf in iterate_leaves(e)
        if leaf.path
    }


def cast_to_event_schema(found: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What `query` gave, in the schema of all such formats."""
    for batch in found:
        schema = _EVENT_SCHEMA
        if pa.types.is_timestamp(batch.schema.field(_TIME_INDEX).type):
            schema = schema.set(_TIME_INDEX, pa.field("time", TIME_TYPE))
        yield batch.cast(schema)


def checked(batch: pa.RecordBatch, path: str, kind: str) -> pa.RecordBatch:
    """Return what another process sent as `as_fields` gave it; raises `SourceError` for anything else."""
    expected = _EVENT_SCHEMA
    if len(batch.schema) > _TIME_INDEX and batch.schema.field(_TIME_INDEX).type == TIME_TYPE:
        expected = expected.set(_TIME_INDEX, pa.field("time", TIME_TYPE))
    # The name of the column with the lines is chosen at random by each process.
    if batch.schema.types != expected.types:
        raise SourceError(
            f"{path} can't be read as {kind}: its reader sent other columns than asked."
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=expected)


class _ColumnRow:
    """A row of typed columns as a root."""

    reaches_into_objects = False

    def __init__(
        self,
        types: Mapping[str, str],
        opaque_columns: Collection[str] = (),
        fragile_columns: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Bytes in `opaque` columns are to be decoded, and never taken for text."""
        self._types = types
        self._opaque_columns = opaque_columns
        self._fragile_columns = fragile_columns

    def request_path(self, path: FieldPath, kind: str) -> None:
        """All columns are there."""

    def request_presence(self, path: FieldPath) -> None:
        """As above."""

    def has_value_sql(self, path: FieldPath) -> str:
        column = str(path[0])
        return f"({quote_identifier(column)} IS NOT NULL)" if column in self._types else "false"

    def has_fragile_number_sql(self, path: FieldPath) -> str | None:
        return self._fragile_columns.get(str(path[0])) if len(path) == 1 else None

    def text_sql(self, path: FieldPath) -> str:
        kind = self._types.get(str(path[0]))
        column = quote_identifier(str(path[0]))
        if kind is None:  # another file of the log has it
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
        # JSON has no NaN and no infinity; Python's json module reads and writes them so. And to_json
        # makes a double of a float, with digits that nobody wrote.
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
BOOLEAN_TEXT = "text of a truth value"
CHECKED_JSON = "JSON that was checked where it lay"
ROW_NUMBER = "a row's place in its file, which is no value of it"
"""Kinds of a column of text, such as one whose values look like numbers or truth values (CSV)."""
