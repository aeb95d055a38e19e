"""The formats Parquet, and Arrow IPC files and streams (Feather). Files are read as a whole.

Such a file contains an index and is never appended to: a log of them grows by another file. Their
libraries trust the content of a file, so a separate process reads it
(`storage.ingest.parser.parser_process`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from storage.ingest.formats import LINE_COLUMN, ReadPass, columns
from storage.ingest.io import object_store
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.parser import parser_process
from storage.quoting import quote_literal


class _ParsedInProcess(columns.ColumnFormat):
    """A format that the parser process reads, with the methods `parse_…` of the subclass."""

    name: str
    title: str
    """The name of the format in messages."""
    is_whole_file = True

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - its library reads it
        with object_store.local_copy(path) as file:
            request = {"op": "sample", "format": self.name, "path": file}
            batches = parser_process.read_batches(request, path, self.title)
            return [record for batch in batches for record in batch.to_pylist()]

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        with object_store.local_copy(reading.path) as file:
            request = {
                "op": "batches",
                "format": self.name,
                "path": file,
                "mapping": mapping.to_json(),
            }
            reading.line_count = reading.start_line
            for batch in parser_process.read_batches(request, reading.path, self.title):
                checked = columns.checked(batch, reading.path, self.title)
                line = pa.array(np.arange(checked.num_rows) + reading.line_count + 1)
                reading.line_count += checked.num_rows
                yield checked.set_column(checked.num_columns - 1, LINE_COLUMN, line)
        reading.consumed = reading.line_count


class Parquet(_ParsedInProcess):
    """Apache Parquet, read by DuckDB."""

    name = "parquet"
    title = "Parquet"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"PAR1") or name.lower().endswith((".parquet", ".pq"))

    def parse_sample(self, file: str) -> Iterator[pa.RecordBatch]:
        """Yield the first records; runs in the parser process."""
        connection = columns.connect_reader()
        relation = f"read_parquet({quote_literal(file)})"
        types = columns.read_column_types(connection, relation)
        yield from columns.sample_table(connection, relation, types).to_batches()

    def parse_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield all rows as fields of events; runs in the parser process."""
        connection = columns.connect_reader()
        relation = f"read_parquet({quote_literal(reading.path)})"
        types = columns.read_column_types(connection, relation)
        yield from columns.read_event_batches(connection, relation, types, mapping, reading)


class ArrowIpc(_ParsedInProcess):
    """Arrow IPC files and streams; Feather version 2 is an Arrow IPC file."""

    name = "arrow"
    title = "Arrow"

    def recognises(self, name: str, head: bytes) -> bool:
        arrow_names = (".arrow", ".arrows", ".ipc", ".feather")
        return head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or name.lower().endswith(
            arrow_names
        )

    def parse_sample(self, file: str) -> Iterator[pa.RecordBatch]:
        """Yield the first records; runs in the parser process."""
        first = next(self._read_record_batches(file), None)
        if first is None:
            return
        connection = columns.connect_reader()
        connection.register("records", pa.Table.from_batches([first]))
        types = columns.read_column_types(connection, "records")
        yield from columns.sample_table(connection, "records", types).to_batches()

    def parse_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield all rows as fields of events; runs in the parser process."""
        connection = columns.connect_reader()
        for batch in self._read_record_batches(reading.path):
            connection.register("records", pa.Table.from_batches([batch]))
            types = columns.read_column_types(connection, "records")
            counted = ReadPass(reading.path, start_line=reading.line_count)
            yield from columns.read_event_batches(connection, "records", types, mapping, counted)
            reading.line_count = counted.line_count

    def _read_record_batches(self, path: str) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a file, each validated in full before its values are used."""
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
