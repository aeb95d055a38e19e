"""PostgreSQL as a source: reads Arrow batches through ADBC in a read-only snapshot transaction."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager import Error

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import columns
from storage.ingest.io.prefetch import prefetch_items
from storage.ingest.sources.databases.database import (
    ColumnTypes,
    LinkedDatabase,
    column_reference,
    format_table_name,
)
from storage.ingest.sources.uris import SourceUri

_COLUMNS_QUERY = """
SELECT c.table_schema, c.table_name, c.column_name, c.udt_name
FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema')
ORDER BY c.table_schema, c.table_name, c.ordinal_position
"""
_DIRECT_TYPES = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), "VARCHAR"),
    **dict.fromkeys(("int2", "int4", "int8"), "BIGINT"),
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "bytea": "BLOB",
}
_TIME_TYPES = {"timestamptz": "TIMESTAMP WITH TIME ZONE", "timestamp": "TIMESTAMP"}
_LAST_TIME = "294247-01-10 04:00:54.775807+00"
"""The last microsecond that 64 bits can count from 1970 on; stands for infinity in Arrow."""
_LARGE_OBJECT_SQL = (
    "CASE WHEN EXISTS (SELECT FROM pg_largeobject_metadata AS m WHERE m.oid = {0}) THEN lo_get({0})"
    " ELSE convert_to({0}::text, 'UTF8') END"
)


class PostgreSql(LinkedDatabase):
    """A PostgreSQL database."""

    kind = "postgresql"

    def __init__(self, uri: SourceUri) -> None:
        super().__init__(uri)
        self._idle_connections: list[adbc.Connection] = []
        """The connection of the last query, kept because connecting takes longer than most queries."""
        weakref.finalize(self, _close_connections, self._idle_connections)

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        found: dict[str, dict[str, str]] = {}
        with self.read_query(_COLUMNS_QUERY) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    schema, table, column, kind = row.values()
                    name = format_table_name(None if schema == "public" else schema, table)
                    found.setdefault(name, {})[column] = kind
        return found

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = column_reference(alias, name)
        if kind in _DIRECT_TYPES:
            return column, _DIRECT_TYPES[kind]
        if kind in _TIME_TYPES:
            last = f"'{_LAST_TIME}'::{kind}"
            bounded = f"CASE WHEN {column} < {last} THEN {column} WHEN NOT isfinite({column}) THEN {last} END"
            return f"CASE WHEN {column} <> '-infinity' THEN {bounded} END", _TIME_TYPES[kind]
        if kind == "date":
            return f"{column}::text", "VARCHAR"
        if kind in ("json", "jsonb"):
            return column, columns.CHECKED_JSON
        if kind == "numeric":
            return f"{column}::text", columns.NUMBER_TEXT
        if kind == "xid8":
            return f"{column}::text::bigint", "BIGINT"
        if kind == "oid":
            # Either a plain number or a large object, in which some of Axon's mappings store payloads.
            return _LARGE_OBJECT_SQL.format(column), "BLOB"
        if kind.startswith("_"):
            return f"to_json({column})::text", columns.CHECKED_JSON
        return f"{column}::text", "VARCHAR"

    def may_fill_gaps(self, columns: ColumnTypes, name: str) -> bool:
        return columns.get(name) in ("int4", "int8")

    @contextmanager
    def read_query(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        try:
            with ExitStack() as cleanup:
                connection = (
                    self._idle_connections.pop()
                    if self._idle_connections
                    else adbc.connect(self._uri.target)
                )
                cleanup.callback(connection.close)
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    cursor.execute("SET LOCAL DateStyle = 'ISO'")
                    cursor.execute(query)
                    # Fetch the next rows while the loader works on these.
                    with closing(
                        prefetch_items(map(_unwrap_extension_types, cursor.fetch_record_batch()), 2)
                    ) as batches:
                        yield batches
                connection.rollback()
                cleanup.pop_all()
                self._idle_connections.append(connection)
        except (Error, pa.ArrowException, OSError) as error:
            raise SourceError(self._describe_error(error)) from error

    def close(self) -> None:
        _close_connections(self._idle_connections)

    def _describe_error(self, error: BaseException) -> str:
        reason = summarize_error(error)
        for prefix in ("[libpq] Failed to connect: ", "INVALID_ARGUMENT: ", "IO: ", "UNKNOWN: "):
            reason = reason.replace(prefix, "")
        return f"{self._uri.public_uri} can't be read ({reason})."


def _close_connections(connections: list[adbc.Connection]) -> None:
    while connections:
        connections.pop().close()


def _unwrap_extension_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """JSON as the text that it is."""
    for index, described in enumerate(batch.schema):
        if isinstance(described.type, pa.BaseExtensionType):
            text = batch.column(index).storage
            batch = batch.set_column(index, described.name, text)
    return batch
