"""Rows that arrive as Arrow batches from what is no file: as a format, and as events."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from storage.formats import Reading, columns
from storage.mapping import FieldMapping, Record


class Rows(columns.Columns):
    """A format whose rows a source draws itself."""

    whole = False

    def __init__(self, kind: str) -> None:
        self.name = kind

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - no file is one
        return False

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - as above
        return []

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - as above
        return iter(())


def as_events(
    rows: Iterator[pa.RecordBatch],
    types: Mapping[str, str],
    reading: Reading,
    mapping: FieldMapping,
) -> Iterator[pa.RecordBatch]:
    """Rows with these columns as the fields of events; counts `reading.lines`."""
    connection = columns.connect()
    query = columns.query(types, mapping, "rows_read")
    reading.lines = reading.start_line
    try:
        for batch in rows:
            connection.register("rows_read", pa.Table.from_batches([batch]))
            for found in columns.as_fields(connection.sql(query).to_arrow_reader(columns.BATCH)):
                line = pa.array(np.arange(found.num_rows) + reading.lines + 1)
                reading.lines += found.num_rows
                yield found.set_column(found.num_columns - 1, "line", line)
    finally:
        connection.close()
