"""PostgreSQL, through ADBC: Arrow all the way, in a read-only transaction that sees one moment."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager import Error

from storage.errors import SourceError, one_line
from storage.ingest.formats import columns
from storage.ingest.io.prefetch import ahead
from storage.ingest.sources.databases.database import Columns, OfLink, quote_column, table_name
from storage.ingest.sources.uris import Link

_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.udt_name
FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema')
ORDER BY c.table_schema, c.table_name, c.ordinal_position
"""
_AS_THEY_ARE = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), "VARCHAR"),
    **dict.fromkeys(("int2", "int4", "int8"), "BIGINT"),
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "bytea": "BLOB",
}
_TIMES = {"timestamptz": "TIMESTAMP WITH TIME ZONE", "timestamp": "TIMESTAMP"}
_LAST = "294247-01-10 04:00:54.775807+00"
"""The last microsecond that 64 bits count from 1970 on: what is infinite to Arrow's readers."""
_LARGE_OBJECT = (
    "CASE WHEN EXISTS (SELECT FROM pg_largeobject_metadata AS m WHERE m.oid = {0}) THEN lo_get({0})"
    " ELSE convert_to({0}::text, 'UTF8') END"
)


class PostgreSql(OfLink):
    """A PostgreSQL database."""

    kind = "postgresql"

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._idle: list[adbc.Connection] = []
        """The connection of the last query: connecting takes longer than most of them."""
        weakref.finalize(self, _close, self._idle)

    def tables(self) -> Mapping[str, Columns]:
        found: dict[str, dict[str, str]] = {}
        with self.read(_COLUMNS) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    schema, table, column, kind = row.values()
                    name = table_name(None if schema == "public" else schema, table)
                    found.setdefault(name, {})[column] = kind
        return found

    def column(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = quote_column(alias, name)
        if kind in _AS_THEY_ARE:
            return column, _AS_THEY_ARE[kind]
        if kind in _TIMES:
            last = f"'{_LAST}'::{kind}"
            bounded = f"CASE WHEN {column} < {last} THEN {column} WHEN NOT isfinite({column}) THEN {last} END"
            return f"CASE WHEN {column} <> '-infinity' THEN {bounded} END", _TIMES[kind]
        if kind == "date":
            return f"{column}::text", "VARCHAR"
        if kind in ("json", "jsonb"):
            return column, columns.CHECKED
        if kind == "numeric":
            return f"{column}::text", columns.NUMBER
        if kind == "xid8":
            return f"{column}::text::bigint", "BIGINT"
        if kind == "oid":
            # A large object, in which some of Axon's mappings keep payloads, or any other number.
            return _LARGE_OBJECT.format(column), "BLOB"
        if kind.startswith("_"):
            return f"to_json({column})::text", columns.CHECKED
        return f"{column}::text", "VARCHAR"

    def numbered(self, columns: Columns, name: str) -> bool:
        return columns.get(name) in ("int4", "int8")

    @contextmanager
    def read(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        try:
            with ExitStack() as at_the_end:
                connection = self._idle.pop() if self._idle else adbc.connect(self._link.place)
                at_the_end.callback(connection.close)
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    cursor.execute("SET LOCAL DateStyle = 'ISO'")
                    cursor.execute(query)
                    # The next rows are on their way while those before are taken apart.
                    with closing(ahead(map(_plain, cursor.fetch_record_batch()), 2)) as batches:
                        yield batches
                connection.rollback()
                at_the_end.pop_all()
                self._idle.append(connection)
        except (Error, pa.ArrowException, OSError) as error:
            raise SourceError(self._said(error)) from error

    def close(self) -> None:
        _close(self._idle)

    def _said(self, error: BaseException) -> str:
        reason = one_line(error)
        for begun in ("[libpq] Failed to connect: ", "INVALID_ARGUMENT: ", "IO: ", "UNKNOWN: "):
            reason = reason.replace(begun, "")
        return f"{self._link.public} can't be read ({reason})."


def _close(connections: list[adbc.Connection]) -> None:
    while connections:
        connections.pop().close()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """JSON as the text that it is."""
    for index, described in enumerate(batch.schema):
        if isinstance(described.type, pa.BaseExtensionType):
            text = batch.column(index).storage
            batch = batch.set_column(index, described.name, text)
    return batch
