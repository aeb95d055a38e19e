"""What every kind of database can do for us: say which tables it has, and read a query in one snapshot."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

from storage.ingest.sources.uris import SourceUri
from storage.quoting import quote_identifier, quote_literal

_NAME_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')

ColumnTypes = Mapping[str, str]
"""Names of columns and their types, in the words of the database."""


class Database(Protocol):
    """A database that is only read."""

    kind: str
    """What it is called, `postgresql`."""

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        """Every table that the reader may see, by name; with its schema where that isn't searched."""
        ...

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        """Return lossless SQL for a column, and its type for `storage.ingest.formats.columns`."""
        ...

    def may_fill_gaps(self, columns: ColumnTypes, name: str) -> bool:
        """Whether a column's numbers are given out before they are committed, so that gaps may fill."""
        ...

    def value_sql(self, value: Any) -> str:
        """A value of a position, as SQL."""
        ...

    def read_query(self, query: str) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """The rows of a query, in order; raises `SourceError` where the database refuses."""
        ...

    def close(self) -> None:
        """Nothing more will be read for now."""
        ...


class LinkedDatabase:
    """What databases have in common, unless one says otherwise."""

    def __init__(self, uri: SourceUri) -> None:
        self._uri = uri

    def may_fill_gaps(self, columns: ColumnTypes, name: str) -> bool:  # noqa: ARG002 - writers take turns
        return False

    def close(self) -> None:
        """Nothing stays open."""

    def value_sql(self, value: Any) -> str:
        return str(value) if isinstance(value, int) else quote_literal(str(value))


def format_table_name(schema: str | None, table: str) -> str:
    """How a table is called: behind its schema and a dot, in quotes where there is a dot in it."""
    parts = [part for part in (schema, table) if part is not None]
    return ".".join(
        quote_identifier(part) if "." in part or '"' in part else part for part in parts
    )


def split_table_name(name: str) -> list[str]:
    """The table of that name, and before it its schema, if it is said."""
    found = _NAME_PART.findall(name)
    return [quoted.replace('""', '"') or bare for quoted, bare in found]


def quote_table_name(name: str) -> str:
    """A table's name in SQL."""
    return ".".join(map(quote_identifier, split_table_name(name)))


def column_reference(alias: str, name: str) -> str:
    return f"{alias}.{quote_identifier(name)}"
