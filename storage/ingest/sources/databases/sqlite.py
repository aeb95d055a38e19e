"""SQLite files, through Python's own module, as DuckDB's extension can't be fetched everywhere."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import SourceError, one_line
from storage.ingest.formats import columns
from storage.ingest.sources.databases import ocel
from storage.ingest.sources.databases.database import Columns, OfLink, quote_column, table_name

_AT_ONCE = 32_768
_ARROW = {int: pa.int64(), float: pa.float64(), bytes: pa.binary()}


class Sqlite(OfLink):
    """A SQLite file; it is never written, nor is a journal made beside it."""

    kind = "sqlite"

    def tables(self) -> Mapping[str, Columns]:
        found: dict[str, dict[str, str]] = {}
        with self._open() as connection:
            if ocel.install(connection):
                found[ocel.VIEW] = dict(ocel.COLUMNS)
            names = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
            for name, ddl in names:
                # Generated columns too, which `table_info` passes over.
                described = connection.execute(
                    "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1", [name]
                )
                known = {column: (kind or "").upper() for column, kind in described}
                if _has_places(ddl or ""):
                    known.setdefault("rowid", columns.PLACE)
                found[table_name(None, name)] = known
        return found

    def column(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = quote_column(alias, name)
        if name == "rowid" and kind == columns.PLACE:
            return f"{alias}.rowid", columns.PLACE
        if "INT" in kind:
            return column, "BIGINT"
        if "JSON" in kind:
            return f"CAST({column} AS TEXT)", "JSON"
        if "BLOB" in kind or not kind:
            return f"CAST({column} AS BLOB)", "BLOB"
        if any(part in kind for part in ("REAL", "FLOA", "DOUB")):
            return column, "DOUBLE"
        if "NUM" in kind or "DEC" in kind:
            return column, columns.NUMBER
        return f"CAST({column} AS TEXT)", "VARCHAR"

    @contextmanager
    def read(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        with self._open() as connection:
            # Text that isn't UTF-8 is shown as far as it goes.
            ocel.install(connection)
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            yield self._batches(connection, query)

    def _batches(self, connection: sqlite3.Connection, query: str) -> Iterator[pa.RecordBatch]:
        cursor = connection.execute(query)
        names = [described[0] for described in cursor.description]
        while rows := cursor.fetchmany(_AT_ONCE):
            yield pa.RecordBatch.from_arrays([_array(v) for v in zip(*rows, strict=True)], names)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            address = Path(self._link.place).as_uri() + "?mode=ro"
            connection = sqlite3.connect(
                address, uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise SourceError(f"{self._link.public} can't be read ({one_line(error)}).") from error


def _has_places(ddl: str) -> bool:
    """Whether the rows of a table have a place of their own; those of a view have none."""
    said = " ".join(ddl.upper().split())
    options = said.rpartition(")")[2]
    return said.startswith("CREATE TABLE") and "WITHOUT ROWID" not in options


def _array(values: tuple[Any, ...]) -> pa.Array:
    """A column; SQLite lets every value be of another type than its column says."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1:
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(values, _ARROW.get(kinds.pop(), pa.string()))
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return None if value is None else str(value)
