"""SQLite files as sources, read with Python's sqlite3, because DuckDB's extension isn't always available."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import columns
from storage.ingest.sources.databases import ocel
from storage.ingest.sources.databases.database import (
    ColumnTypes,
    LinkedDatabase,
    column_reference,
    format_table_name,
)

_BATCH_ROWS = 32_768
_ARROW_TYPES = {int: pa.int64(), float: pa.float64(), bytes: pa.binary()}


class Sqlite(LinkedDatabase):
    """A SQLite file, opened read-only, without creating a journal beside it."""

    kind = "sqlite"

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        found: dict[str, dict[str, str]] = {}
        with self._open() as connection:
            if ocel.install_view(connection):
                found[ocel.VIEW_NAME] = dict(ocel.VIEW_COLUMNS)
            names = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
            for name, ddl in names:
                # table_xinfo also lists generated columns, which table_info omits.
                described = connection.execute(
                    "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1", [name]
                )
                known = {column: (kind or "").upper() for column, kind in described}
                if _has_rowid(ddl or ""):
                    known.setdefault("rowid", columns.ROW_NUMBER)
                found[format_table_name(None, name)] = known
        return found

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = column_reference(alias, name)
        if name == "rowid" and kind == columns.ROW_NUMBER:
            return f"{alias}.rowid", columns.ROW_NUMBER
        if "INT" in kind:
            return column, "BIGINT"
        if "JSON" in kind:
            return f"CAST({column} AS TEXT)", "JSON"
        if "BLOB" in kind or not kind:
            return f"CAST({column} AS BLOB)", "BLOB"
        if any(part in kind for part in ("REAL", "FLOA", "DOUB")):
            return column, "DOUBLE"
        if "NUM" in kind or "DEC" in kind:
            return column, columns.NUMBER_TEXT
        return f"CAST({column} AS TEXT)", "VARCHAR"

    @contextmanager
    def read_query(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        with self._open() as connection:
            ocel.install_view(connection)
            # Replace bytes that aren't UTF-8 instead of refusing the text.
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            yield self._read_batches(connection, query)

    def _read_batches(self, connection: sqlite3.Connection, query: str) -> Iterator[pa.RecordBatch]:
        cursor = connection.execute(query)
        names = [described[0] for described in cursor.description]
        while rows := cursor.fetchmany(_BATCH_ROWS):
            yield pa.RecordBatch.from_arrays(
                [_make_array(v) for v in zip(*rows, strict=True)], names
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            address = Path(self._uri.target).as_uri() + "?mode=ro"
            connection = sqlite3.connect(
                address, uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise SourceError(
                f"{self._uri.public_uri} can't be read ({summarize_error(error)})."
            ) from error


def _has_rowid(ddl: str) -> bool:
    """Return whether a table has a rowid; views and WITHOUT ROWID tables have none."""
    normalized = " ".join(ddl.upper().split())
    options = normalized.rpartition(")")[2]
    return normalized.startswith("CREATE TABLE") and "WITHOUT ROWID" not in options


def _make_array(values: tuple[Any, ...]) -> pa.Array:
    """Return the values as one array; texts if types are mixed, because SQLite doesn't enforce them."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1:
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(values, _ARROW_TYPES.get(kinds.pop(), pa.string()))
    return pa.array([_value_to_text(value) for value in values], pa.string())


def _value_to_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return None if value is None else str(value)
