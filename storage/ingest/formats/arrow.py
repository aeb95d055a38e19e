"""Parquet files, and Arrow IPC files and streams (Feather). They are taken as a whole.

Such a file has an index of its own and is never appended to: a log of them grows by a further file.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.ipc

from storage.errors import SourceError, one_line
from storage.ingest.formats import Reading, columns
from storage.ingest.io import object_store
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import quoted


class Parquet(columns.Columns):
    """Apache Parquet, read by DuckDB."""

    name = "parquet"
    whole = True

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"PAR1") or name.lower().endswith((".parquet", ".pq"))

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - DuckDB reads it
        connection = columns.connect()
        try:
            with object_store.as_file(path) as file:
                relation = f"read_parquet({quoted(file)})"
                return columns.sample(connection, relation, columns.types_of(connection, relation))
        except duckdb.Error as error:
            raise _damaged(path, "Parquet", error) from error
        finally:
            connection.close()

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        connection = columns.connect()
        try:
            with object_store.as_file(reading.path) as file:
                relation = f"read_parquet({quoted(file)})"
                types = columns.types_of(connection, relation)
                yield from columns.batches(connection, relation, types, mapping, reading)
        except duckdb.Error as error:
            raise _damaged(reading.path, "Parquet", error) from error
        finally:
            connection.close()
        reading.taken = reading.lines


class ArrowIpc(columns.Columns):
    """Arrow's own files and streams; Feather version 2 is one."""

    name = "arrow"
    whole = True

    def recognises(self, name: str, head: bytes) -> bool:
        arrow_names = (".arrow", ".arrows", ".ipc", ".feather")
        return head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or name.lower().endswith(
            arrow_names
        )

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - Arrow reads it
        first = next(self._read(path), None)
        if first is None:
            return []
        connection = columns.connect()
        connection.register("records", pa.Table.from_batches([first]))
        try:
            return columns.sample(connection, "records", columns.types_of(connection, "records"))
        finally:
            connection.close()

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        connection = columns.connect()
        try:
            for batch in self._read(reading.path):
                connection.register("records", pa.Table.from_batches([batch]))
                types = columns.types_of(connection, "records")
                counted = Reading(reading.path, start_line=reading.lines)
                yield from columns.batches(connection, "records", types, mapping, counted)
                reading.lines = counted.lines
        finally:
            connection.close()
        reading.taken = reading.lines

    def _read(self, path: str) -> Iterator[pa.RecordBatch]:
        try:
            with object_store.as_file(path) as file, pa.memory_map(file) as mapped:
                try:
                    opened: Any = pa.ipc.open_file(mapped)
                except pa.ArrowInvalid:
                    mapped.seek(0)
                    yield from pa.ipc.open_stream(mapped)
                    return
                for index in range(opened.num_record_batches):
                    yield opened.get_batch(index)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, "Arrow", error) from error


def _damaged(path: str, kind: str, error: Exception) -> SourceError:
    return SourceError(f"{path} can't be read as {kind} ({one_line(error)}); is it complete?")
