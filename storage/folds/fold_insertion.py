"""Inserts the rows of a fold, inside the transaction of one flush."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from storage.coordinates.fold_scope import FoldScope
from storage.folds.key_bucket import BUCKET_SQL
from storage.workspace import schema

_ARROW_TYPES = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
}
_SCOPE_COLUMNS = 2


class FoldInsertion:
    """Inserts rows of one fold on a connection that writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scope: FoldScope) -> None:
        self._connection = connection
        self._columns_sql = scope.columns_sql

    def insert_history(self, rows: pa.Table) -> None:
        """Insert changes, sorted by bucket; `rows` has the columns of `history` without the bucket."""
        self._insert(
            f"history BY NAME SELECT {self._columns_sql}, {BUCKET_SQL} AS bucket, * FROM rows"
            " ORDER BY bucket, change",
            rows,
        )

    def insert_parts(self, rows: pa.Table) -> None:
        """Insert part changes: `key`, `offset`, `change`, `part`, `place`, `state`."""
        self._insert(
            f'parts SELECT {self._columns_sql}, {BUCKET_SQL} AS bucket, key, "offset", change, part,'
            " place, state FROM rows",
            rows,
        )

    def insert_routes(self, rows: pa.Table) -> None:
        """Insert the documents that events reached: `offset`, `key`."""
        self._insert(f'routes SELECT {self._columns_sql}, "offset", key FROM rows', rows)

    def insert_documents(self, rows: pa.Table) -> None:
        """Insert documents: `ordinal`, `key`, `born`."""
        self._insert(f"documents SELECT {self._columns_sql}, ordinal, key, born FROM rows", rows)

    def insert_recorded_decisions(self, rows: pa.Table) -> None:
        """Insert decisions for recorded answers: `offset`, `key`, `ordinal`, `call`, `decision`."""
        self._insert(
            f'decisions BY NAME SELECT {self._columns_sql}, "offset", key, ordinal, call, decision'
            " FROM rows",
            rows,
        )

    def insert_reports(
        self, table: schema.TableSchema, reports: Sequence[Mapping[str, Any]]
    ) -> None:
        """Insert the rare rows, such as failures, that a worker reports one by one."""
        if not reports:
            return
        fields = [(name, _ARROW_TYPES[kind]) for name, kind in table.columns[_SCOPE_COLUMNS:]]
        rows = pa.table(
            {name: pa.array([one[name] for one in reports], kind) for name, kind in fields}
        )
        columns = ", ".join(f'"{name}"' for name, _ in fields)
        self._insert(f"{table.name} SELECT {self._columns_sql}, {columns} FROM rows", rows)

    def _insert(self, target: str, rows: pa.Table) -> None:
        self._connection.register("rows", rows)
        self._connection.execute(f"INSERT INTO {target}")
        self._connection.unregister("rows")
