"""DuckDB files as sources, unless they are workspaces, read through an isolated connection."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import columns
from storage.ingest.sources.databases.database import (
    ColumnTypes,
    LinkedDatabase,
    column_reference,
    format_table_name,
)
from storage.quoting import quote_literal


class DuckDbFile(LinkedDatabase):
    """A DuckDB file, opened read-only."""

    kind = "duckdb"

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        found: dict[str, dict[str, str]] = {}
        with self._open() as connection:
            rows = connection.execute(
                "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
                " WHERE database_name = 'source' AND NOT internal"
                " ORDER BY schema_name, table_name, column_index"
            ).fetchall()
            stored_tables = connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'source'"
            ).fetchall()
        for schema, table, column, kind in [
            *rows,
            *((*t, "rowid", columns.ROW_NUMBER) for t in stored_tables),
        ]:
            name = format_table_name(None if schema == "main" else schema, table)
            found.setdefault(name, {}).setdefault(column, kind)
        if {"workspace", "events", "sources", "history"} <= set(found):
            raise SourceError(
                f"{self._uri.target} is a workspace, not a source; open it with refold open."
            )
        return found

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = column_reference(alias, name)
        if kind == columns.ROW_NUMBER:
            return f"{alias}.rowid", kind
        if kind.endswith("]"):
            return column, kind
        if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
            return column, "BIGINT"
        if kind == "UUID":
            return f"CAST({column} AS VARCHAR)", "VARCHAR"
        if kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT", "UBIGINT", "BIGNUM")):
            return f"CAST({column} AS VARCHAR)", columns.NUMBER_TEXT
        if kind.startswith(("ENUM", "INTERVAL", "TIME")) and not kind.startswith("TIMESTAMP"):
            return f"CAST({column} AS VARCHAR)", "VARCHAR"
        return column, kind

    @contextmanager
    def read_query(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        with self._open() as connection:
            yield iter(connection.sql(query).to_arrow_reader(columns.BATCH_ROWS))

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            connection = columns.connect_reader()
            try:
                connection.execute(
                    f"ATTACH {quote_literal(self._uri.target)} AS source (READ_ONLY)"
                )
                connection.execute("SET enable_external_access = false; USE source")
                yield connection
            finally:
                connection.close()
        except duckdb.Error as error:
            raise SourceError(
                f"{self._uri.public_uri} can't be read ({summarize_error(error)})."
            ) from error
