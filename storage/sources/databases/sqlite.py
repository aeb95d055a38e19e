"""SQLite files, through Python's own module, as DuckDB's extension can't be fetched everywhere."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import SourceError, one_line
from storage.formats import columns
from storage.quoting import quoted
from storage.sources.databases.database import Columns, quote_column
from storage.sources.links import Link

_AT_ONCE = 32_768
_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BLOB": pa.binary()}


class Sqlite:
    """A SQLite file; it is never written, nor is a journal made beside it."""

    kind = "sqlite"

    def __init__(self, link: Link) -> None:
        self._link = link
        if not Path(link.place).is_file():
            raise SourceError(f"There is no file {link.place}.")

    def tables(self) -> Mapping[str, Columns]:
        found: dict[str, dict[str, str]] = {}
        with self._open() as connection:
            names = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
            for name, ddl in names:
                described = connection.execute("SELECT * FROM pragma_table_info(?)", [name])
                known = {row[1]: (row[2] or "").upper() for row in described}
                if not (ddl or "").upper().rstrip().endswith("WITHOUT ROWID") and (
                    (ddl or "").upper().lstrip().startswith("CREATE TABLE")
                ):
                    known.setdefault("rowid", "INTEGER")
                found[name] = known
        return found

    def column(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        column = quote_column(alias, name)
        if name == "rowid":
            return f"{alias}.rowid", "BIGINT"
        if "INT" in kind:
            return f"CAST({column} AS INTEGER)", "BIGINT"
        if "JSON" in kind:
            return f"CAST({column} AS TEXT)", "JSON"
        if "BLOB" in kind or not kind:
            return f"CAST({column} AS BLOB)", "BLOB"
        if any(part in kind for part in ("REAL", "FLOA", "DOUB")):
            return f"CAST({column} AS REAL)", "DOUBLE"
        if "NUM" in kind or "DEC" in kind:
            return f"CAST({column} AS TEXT)", columns.NUMBER
        return f"CAST({column} AS TEXT)", "VARCHAR"

    def numbered(self, columns: Columns, name: str) -> bool:  # noqa: ARG002 - writers take turns
        return False

    def literal(self, value: Any) -> str:
        return str(value) if isinstance(value, int) else quoted(str(value))

    @contextmanager
    def read(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        with self._open() as connection:
            # Text that isn't UTF-8 is shown as far as it goes.
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            yield self._batches(connection, query)

    def _batches(self, connection: sqlite3.Connection, query: str) -> Iterator[pa.RecordBatch]:
        cursor = connection.execute(query)
        names = [described[0] for described in cursor.description]
        kinds: list[pa.DataType] | None = None
        while rows := cursor.fetchmany(_AT_ONCE):
            values = list(zip(*rows, strict=True))
            kinds = kinds or [_kind(column) for column in values]
            arrays = [_array(column, kind) for column, kind in zip(values, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names)

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


def _kind(values: tuple[Any, ...]) -> pa.DataType:
    """What a column's values are; the query has cast them all to the same."""
    first = next((value for value in values if value is not None), None)
    kinds = {int: pa.int64(), float: pa.float64(), bytes: pa.binary()}
    return kinds.get(type(first), pa.string())


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # The first rows had none of it.
        return pa.array([None if value is None else str(value) for value in values], pa.string())
