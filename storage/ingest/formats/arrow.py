"""Parquet files, and Arrow IPC files and streams (Feather). They are taken as a whole.

Such a file has an index of its own and is never appended to: a log of them grows by a further file.
Their libraries trust what a file says of itself, so a process of its own reads them
(`storage.ingest.parser.parser_process`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from storage.ingest.formats import LINE, Reading, columns
from storage.ingest.io import object_store
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.parser import parser_process
from storage.quoting import quoted


class _Untrusted(columns.Columns):
    """Files that a process of its own reads; it calls the functions `parse_…` of the same class."""

    name: str
    title: str
    """What it is called in a sentence."""
    whole = True

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - its library reads it
        with object_store.as_file(path) as file:
            request = {"op": "sample", "format": self.name, "path": file}
            batches = parser_process.read_batches(request, path, self.title)
            return [record for batch in batches for record in batch.to_pylist()]

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        with object_store.as_file(reading.path) as file:
            request = {
                "op": "batches",
                "format": self.name,
                "path": file,
                "mapping": mapping.to_json(),
            }
            reading.lines = reading.start_line
            for batch in parser_process.read_batches(request, reading.path, self.title):
                found = columns.checked(batch, reading.path, self.title)
                line = pa.array(np.arange(found.num_rows) + reading.lines + 1)
                reading.lines += found.num_rows
                yield found.set_column(found.num_columns - 1, LINE, line)
        reading.taken = reading.lines


class Parquet(_Untrusted):
    """Apache Parquet, read by DuckDB."""

    name = "parquet"
    title = "Parquet"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"PAR1") or name.lower().endswith((".parquet", ".pq"))

    def parse_sample(self, file: str) -> Iterator[pa.RecordBatch]:
        """Yield the first records; called in the parser's process."""
        connection = columns.connect()
        relation = f"read_parquet({quoted(file)})"
        types = columns.types_of(connection, relation)
        yield from columns.sample_table(connection, relation, types).to_batches()

    def parse_batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield all rows as fields of events; called in the parser's process."""
        connection = columns.connect()
        relation = f"read_parquet({quoted(reading.path)})"
        types = columns.types_of(connection, relation)
        yield from columns.batches(connection, relation, types, mapping, reading)


class ArrowIpc(_Untrusted):
    """Arrow's own files and streams; Feather version 2 is one."""

    name = "arrow"
    title = "Arrow"

    def recognises(self, name: str, head: bytes) -> bool:
        arrow_names = (".arrow", ".arrows", ".ipc", ".feather")
        return head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or name.lower().endswith(
            arrow_names
        )

    def parse_sample(self, file: str) -> Iterator[pa.RecordBatch]:
        """Yield the first records; called in the parser's process."""
        first = next(self._read(file), None)
        if first is None:
            return
        connection = columns.connect()
        connection.register("records", pa.Table.from_batches([first]))
        types = columns.types_of(connection, "records")
        yield from columns.sample_table(connection, "records", types).to_batches()

    def parse_batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield all rows as fields of events; called in the parser's process."""
        connection = columns.connect()
        for batch in self._read(reading.path):
            connection.register("records", pa.Table.from_batches([batch]))
            types = columns.types_of(connection, "records")
            counted = Reading(reading.path, start_line=reading.lines)
            yield from columns.batches(connection, "records", types, mapping, counted)
            reading.lines = counted.lines

    def _read(self, path: str) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a file, each validated before anybody touches its values."""
        with pa.memory_map(path) as mapped:
            for batch in self._batches(mapped):
                batch.validate(full=True)
                yield batch

    @staticmethod
    def _batches(mapped: Any) -> Iterator[pa.RecordBatch]:
        try:
            opened: Any = pa.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            yield from pa.ipc.open_stream(mapped)
            return
        for index in range(opened.num_record_batches):
            yield opened.get_batch(index)
