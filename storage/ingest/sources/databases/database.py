"""The interface of a database: it lists its tables and reads the rows of a query in one snapshot."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

from storage.ingest.sources.uris import SourceUri
from storage.quoting import quote_identifier, quote_literal

_NAME_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')

ColumnTypes = Mapping[str, str]
"""The columns of a table: names, and types as the database names them."""


class Database(Protocol):
    """A database that refold only reads."""

    kind: str
    """The kind of database, such as `postgresql`."""

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        """Return all readable tables by name, qualified with the schema unless it is the default one."""
        ...

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        """Return SQL that reads a column without loss, and its type for `storage.ingest.formats.columns`."""
        ...

    def may_fill_gaps(self, columns: ColumnTypes, name: str) -> bool:
        """Return whether a missing number of a column may appear later.

        This happens if the database assigns numbers before it commits them.
        """
        ...

    def value_sql(self, value: Any) -> str:
        """Return a value of a position as a SQL literal."""
        ...

    def read_query(self, query: str) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Yield an iterator over the rows of a query in order; raises `SourceError` if the database refuses."""
        ...

    def close(self) -> None:
        """Close idle connections; a later query opens a new one."""
        ...


class LinkedDatabase:
    """Defaults that databases share; a subclass may override them."""

    def __init__(self, uri: SourceUri) -> None:
        self._uri = uri

    def may_fill_gaps(self, columns: ColumnTypes, name: str) -> bool:  # noqa: ARG002 - these databases have one writer at a time
        return False

    def close(self) -> None:
        """Do nothing: no connection stays open between queries."""

    def value_sql(self, value: Any) -> str:
        return str(value) if isinstance(value, int) else quote_literal(str(value))


def format_table_name(schema: str | None, table: str) -> str:
    """Return a table's name as `schema.table`, with a part in quotes if it contains a dot or a quote."""
    parts = [part for part in (schema, table) if part is not None]
    return ".".join(
        quote_identifier(part) if "." in part or '"' in part else part for part in parts
    )


def split_table_name(name: str) -> list[str]:
    """Split a name of `format_table_name` into the schema, if given, and the table."""
    parts = _NAME_PART.findall(name)
    return [quoted.replace('""', '"') or bare for quoted, bare in parts]


def quote_table_name(name: str) -> str:
    """Return a name of `format_table_name` as quoted SQL."""
    return ".".join(map(quote_identifier, split_table_name(name)))


def column_reference(alias: str, name: str) -> str:
    return f"{alias}.{quote_identifier(name)}"
