"""Database files, read by a process of its own: their libraries trust what a file says of itself."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.parser import parser_process
from storage.ingest.sources.databases.database import ColumnTypes, Database, LinkedDatabase
from storage.ingest.sources.uris import SourceUri

_TITLES = {"sqlite": "SQLite", "duckdb": "DuckDB"}


class IsolatedDatabase(LinkedDatabase):
    """A database file whose bytes only the parser's process reads."""

    def __init__(self, database: Database, link: SourceUri) -> None:
        super().__init__(link)
        self._database = database
        self.kind = database.kind

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        found = parser_process.read_result(self._request(op="tables"), *self._names)
        if not _is_tables(found):
            raise SourceError(f"{self._uri.public_uri} can't be read: its reader sent no tables.")
        return dict(found)

    def column_sql(self, alias: str, name: str, kind: str) -> tuple[str, str]:
        return self._database.column_sql(alias, name, kind)

    @contextmanager
    def read_query(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        batches = parser_process.read_batches(self._request(op="read", query=query), *self._names)
        try:
            yield batches
        finally:
            batches.close()  # type: ignore[attr-defined]

    @property
    def _names(self) -> tuple[str, str]:
        return self._uri.public_uri, _TITLES[self.kind]

    def _request(self, **others: Any) -> dict[str, Any]:
        place = self._uri.target
        request = {"kind": self.kind, "path": place, "public": self._uri.public_uri, **others}
        # SQLite takes part in the locks of a write-ahead log, which lie in a file beside it.
        if self.kind == "sqlite" and _has_write_ahead_log(place):
            request["writable"] = [os.path.dirname(place)]  # noqa: PTH120 - as the parser takes it
        return request


def _has_write_ahead_log(path: str) -> bool:
    """Whether the header of a SQLite file says so (https://www.sqlite.org/fileformat2.html)."""
    with Path(path).open("rb") as file:
        return 2 in file.read(20)[18:20]


def _is_tables(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values())
        for columns in found.values()
    )
