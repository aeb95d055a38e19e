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
from storage.ingest.formats import LINE, SAMPLE, Fields, Reading, UnfitError
from storage.ingest.formats.sql_compiler import Compiled
from storage.ingest.mapping import FIELDS, FieldMapping, Record
from storage.ingest.mapping.expressions import At, Path, leaves
from storage.quoting import identifier, quoted

BATCH = 65_536

_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in FIELDS), ("skipped", pa.bool_()), (LINE, pa.int64())]
)
_TIME = _SCHEMA.get_field_index("time")
TIME = pa.timestamp("us", "UTC")
"""What `time` may be instead of text, where a column holds it as such."""


class Columns:
    """Files that DuckDB reads: their batches already hold an event's fields."""

    def fields(self, mapping: FieldMapping, schema: pa.Schema) -> Fields:  # noqa: ARG002 - it was used for the batches
        texts = {field: f'"{field}"' for field in FIELDS}
        moment = '"time"' if pa.types.is_timestamp(schema.field("time").type) else None
        return Fields(texts, moment, good="NOT skipped", raw="coalesce(data, '')")

    def second_look(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:  # noqa: ARG002 - only what the source passes over isn't good
        raise UnfitError(f"{mapping.envelopes[0]} passes over it")


_DIGITS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "UTINYINT")
_MORE_DIGITS = ("USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "BOOLEAN")
_JSON_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own for reading files; it never sees a workspace."""
    connection = duckdb.connect(config={"memory_limit": "512MB", "threads": 2})
    connection.execute(
        "SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false;"
        " SET enable_progress_bar = false"
    )
    return connection


def types_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and DuckDB types of a relation, given as SQL."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in described}


def sample(
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
        identifier(c)
        if _nested(t) or t in _DIGITS
        else f"coalesce(try(decode({identifier(c)})), base64({identifier(c)})) AS {identifier(c)}"
        if t == "BLOB"
        else f"CAST({identifier(c)} AS VARCHAR) AS {identifier(c)}"
        for c, t in types.items()
    )
    return connection.sql(f"SELECT {columns} FROM {relation} LIMIT {SAMPLE}").to_arrow_table()


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
    reading.lines = reading.start_line
    found = connection.sql(query(types, mapping, relation)).to_arrow_reader(BATCH)
    for batch in as_fields(found):
        line = pa.array(np.arange(batch.num_rows) + reading.lines + first_line)
        reading.lines += batch.num_rows
        yield batch.set_column(batch.num_columns - 1, _SCHEMA.field(LINE), line)


def query(
    types: Mapping[str, str], mapping: FieldMapping, relation: str, *, line: str = "0"
) -> str:
    """SQL from a relation's rows to the fields of events, and the number of each."""
    fields = of_row(types, mapping)
    for stage in fields.stages:
        relation = f"(SELECT *, {stage} FROM {relation})"
    found = {**fields.text, **({"time": fields.moment} if fields.moment else {})}
    chosen = ", ".join(
        f"{found.get(field, 'CAST(NULL AS VARCHAR)')} AS {identifier(field)}" for field in FIELDS
    )
    return (
        f"SELECT {chosen}, NOT ({fields.good}) AS skipped, CAST({line} AS BIGINT) AS {LINE}"
        f" FROM {relation}"
    )


def of_row(
    types: Mapping[str, str],
    mapping: FieldMapping,
    fragile: Mapping[str, str] = MappingProxyType({}),
) -> Fields:
    """From a row with these columns to the fields of an event.

    `fragile` says of columns in which other column it stands whether their text has a number that
    `storage.ingest.formats.number_precision` protects; of the others it is found out.
    """
    compiled = Compiled(mapping, _Row(types, opaque(mapping), fragile))
    texts = compiled.fields()
    raw = f"coalesce({texts['data']}, '')" if "data" in texts else "''"
    good, stages = f"NOT {compiled.skipped}", compiled.stages()
    return Fields(texts, _moment(types, mapping), good, raw, stages)


def opened(types: Mapping[str, str], mapping: FieldMapping) -> list[str]:
    """The columns whose JSON is taken apart."""
    return [str(path[0]) for path in Compiled(mapping, _Row(types)).opened if len(path) == 1]


def _moment(types: Mapping[str, str], mapping: FieldMapping) -> str | None:
    """The field `time`, where it is a column of times: writing and reading them as text takes long."""
    said = mapping.expression("time")
    if not isinstance(said, At) or {"time"} & {*mapping.decoders, *mapping.redacted}:
        return None
    column, *inside = said.path
    if inside or types.get(str(column)) != "TIMESTAMP WITH TIME ZONE":
        return None
    there = identifier(str(column))
    return f"CASE WHEN isfinite({there}) THEN {there} END"


def opaque(mapping: FieldMapping) -> set[str]:
    """The columns of the fields that are decoded."""
    wanted = [mapping.expression(field) for field in mapping.decoders]
    return {str(leaf.path[0]) for e in wanted if e is not None for leaf in leaves(e) if leaf.path}


def as_fields(found: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What `query` gave, in the schema of all such formats."""
    for batch in found:
        own = _SCHEMA
        if pa.types.is_timestamp(batch.schema.field(_TIME).type):
            own = own.set(_TIME, pa.field("time", TIME))
        yield batch.cast(own)


def checked(batch: pa.RecordBatch, path: str, kind: str) -> pa.RecordBatch:
    """Return what another process sent as `as_fields` gave it; raises `SourceError` for anything else."""
    expected = _SCHEMA
    if len(batch.schema) > _TIME and batch.schema.field(_TIME).type == TIME:
        expected = expected.set(_TIME, pa.field("time", TIME))
    # The name of the column with the lines is chosen at random by each process.
    if batch.schema.types != expected.types:
        raise SourceError(
            f"{path} can't be read as {kind}: its reader sent other columns than asked."
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=expected)


class _Row:
    """A row of typed columns as a root."""

    deep = False

    def __init__(
        self,
        types: Mapping[str, str],
        opaque: Collection[str] = (),
        fragile: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Bytes in `opaque` columns are to be decoded, and never taken for text."""
        self._types = types
        self._opaque = opaque
        self._fragile = fragile

    def want(self, path: Path, kind: str) -> None:
        """All columns are there."""

    def want_some(self, path: Path) -> None:
        """As above."""

    def has(self, path: Path) -> str:
        there = str(path[0])
        return f"({identifier(there)} IS NOT NULL)" if there in self._types else "false"

    def fragile(self, path: Path) -> str | None:
        return self._fragile.get(str(path[0])) if len(path) == 1 else None

    def text(self, path: Path) -> str:
        kind = self._types.get(str(path[0]))
        column = identifier(str(path[0]))
        if kind is None:  # another file of the log has it
            return "CAST(NULL AS VARCHAR)"
        if kind == "BLOB":
            return f"coalesce(try(decode({column})), hex({column}))"
        return f"CAST({column} AS VARCHAR)"

    def json(self, path: Path) -> str:
        column = str(path[0])
        kind = self._types.get(column)
        if kind == "BLOB" and column in self._opaque:
            return f"CAST(to_json(base64({identifier(column)})) AS VARCHAR)"
        return "CAST(NULL AS VARCHAR)" if kind is None else _payload(column, kind)

    def rest(self, without: Sequence[str]) -> str:
        members = [
            f"{quoted(_key(column))} || {_as_json(column, kind)}"
            for column, kind in self._types.items()
            if column not in without and kind != PLACE
        ]
        if not members:
            return "'{}'"
        return " || ',' || ".join(["'{' || " + members[0], *members[1:]]) + " || '}'"


def _key(column: str) -> str:
    return msgspec.json.encode(column).decode() + ":"


def _as_json(column: str, kind: str) -> str:
    quoted = identifier(column)
    if kind == NUMBER:
        number = f"regexp_full_match({quoted}, '{_JSON_NUMBER}')"
        value = f"CASE WHEN {number} THEN {quoted} ELSE to_json({quoted}) END"
    elif kind == TRUTH:
        truth = f"lower({quoted}) IN ('true', 'false')"
        value = f"CASE WHEN {truth} THEN lower({quoted}) ELSE to_json({quoted}) END"
    elif (kind.startswith(_DIGITS + _MORE_DIGITS) and not kind.endswith("]")) or kind in (
        "JSON",
        CHECKED,
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


def _payload(column: str, kind: str) -> str:
    quoted = identifier(column)
    if kind == CHECKED:
        return quoted
    if kind == "BLOB":
        text = f"try(decode({quoted}))"
        readable = f"coalesce({text}, base64({quoted}))"
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({readable}) AS VARCHAR) END"
    if kind in ("VARCHAR", "JSON", NUMBER, TRUTH):
        text = f"CAST({quoted} AS VARCHAR)"
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"
    return _as_json(column, kind)


def _nested(kind: str) -> bool:
    return kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")


NUMBER = "text of a number"
TRUTH = "text of a truth value"
CHECKED = "JSON that was checked where it lay"
PLACE = "a row's place in its file, which is no value of it"
"""Kinds of a column of text, such as one whose values look like numbers or truth values (CSV)."""
