"""A selection of documents for a query: some keys, or all."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import duckdb

from storage.folds.key_bucket import is_in_buckets_sql

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_LITERAL_BUCKETS = 1_000
"""Up to this many keys, their buckets are literals in the query, so that DuckDB skips rows by zone maps."""


class KeySelection:
    """The keys of the documents that a query is about; None selects all documents."""

    def __init__(self, keys: Collection[str] | None) -> None:
        self._keys = None if keys is None else sorted(keys)
        self._table: pa.Table | None = None

    @property
    def condition(self) -> str:
        """SQL condition for rows of these keys; it needs the table that `register` registers."""
        return "true" if self._keys is None else "key IN (SELECT key FROM wanted)"

    @property
    def bucket_condition(self) -> str:
        """SQL condition for rows that may have these keys, by their bucket."""
        if self._keys is None or len(self._keys) > _MAX_LITERAL_BUCKETS:
            return "true"
        return is_in_buckets_sql(self._keys)

    @property
    def selects_all(self) -> bool:
        return self._keys is None

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Register the keys as the table `wanted`, which lasts as long as the cursor."""
        if self._table is None:
            import pyarrow as pa  # noqa: PLC0415 - the screen starts without Arrow

            self._table = pa.table({"key": pa.array(self._keys or [], pa.string())})
        connection.register("wanted", self._table)


def register_offsets(connection: duckdb.DuckDBPyConnection, offsets: Collection[int]) -> None:
    """Register these offsets as the table `wanted_offsets`, which lasts as long as the cursor."""
    import pyarrow as pa  # noqa: PLC0415 - the screen starts without Arrow

    connection.register("wanted_offsets", pa.table({"offset": pa.array(offsets, pa.int64())}))
