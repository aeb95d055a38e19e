"""Reads database files in the parser process, because their libraries trust the content of a file."""

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
    """A database file whose bytes only the parser process reads."""

    def __init__(self, database: Database, link: SourceUri) -> None:
        super().__init__(link)
        self._database = database
        self.kind = database.kind

    def list_tables(self) -> Mapping[str, ColumnTypes]:
        tables = parser_process.read_result(self._request(op="tables"), *self._names)
        if not _is_tables(tables):
            raise SourceError(
                f"{self._uri.public_uri} can't be read: the parser process sent no tables."
            )
        return dict(tables)

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
        path = self._uri.target
        request = {"kind": self.kind, "path": path, "public": self._uri.public_uri, **others}
        # A reader of a SQLite write-ahead log must write its locks into a file beside the database.
        if self.kind == "sqlite" and _has_write_ahead_log(path):
            request["writable"] = [os.path.dirname(path)]  # noqa: PTH120 - the parser takes a string
        return request


def _has_write_ahead_log(path: str) -> bool:
    """Return whether a SQLite file uses a write-ahead log, by its header (https://www.sqlite.org/fileformat2.html)."""
    with Path(path).open("rb") as file:
        return 2 in file.read(20)[18:20]


def _is_tables(result: object) -> bool:
    return isinstance(result, dict) and all(
        isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values())
        for columns in result.values()
    )
