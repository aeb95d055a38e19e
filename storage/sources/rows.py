"""Rows that arrive as Arrow batches from what is no file: as a format, and as events."""

from collections.abc import Collection, Iterator, Mapping, Sequence

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
    reading.lines = reading.start_line
    queries: dict[tuple[str, ...], str] = {}
    opaque = columns.opaque(mapping)
    try:
        for bare in _gathered(rows):
            batch = _as_text(bare, opaque)
            there = {field.name: _type(types[field.name], field.type) for field in batch.schema}
            kinds = tuple(there.values())
            if kinds not in queries:
                queries[kinds] = columns.query(there, mapping, "rows_read")
            query = queries[kinds]
            connection.register("rows_read", batch)
            for found in columns.as_fields(connection.sql(query).to_arrow_reader(columns.BATCH)):
                line = pa.array(np.arange(found.num_rows) + reading.lines + 1)
                reading.lines += found.num_rows
                yield found.set_column(found.num_columns - 1, "line", line)
    finally:
        connection.close()


def _gathered(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, enough of them at once: planning a query takes longer than a few rows do."""
    waiting: list[pa.RecordBatch] = []
    for batch in rows:
        if waiting and batch.schema != waiting[0].schema:
            yield pa.Table.from_batches(waiting)
            waiting = []
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= columns.BATCH:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _type(wanted: str, found: pa.DataType) -> str:
    """What a column is, where its values may be others than its type says."""
    if pa.types.is_string(found):
        return {"BLOB": "VARCHAR", "BIGINT": columns.NUMBER, "DOUBLE": columns.NUMBER}.get(
            wanted, wanted
        )
    if pa.types.is_binary(found):
        return "BLOB"
    if wanted in ("BIGINT", "DOUBLE", columns.NUMBER):
        return "DOUBLE" if pa.types.is_floating(found) else "BIGINT"
    return wanted


def _as_text(batch: pa.Table, opaque: Collection[str]) -> pa.Table:
    """Bytes that are all UTF-8 as text, which is checked once for the batch."""
    for index, described in enumerate(batch.schema):
        if pa.types.is_binary(described.type) and described.name not in opaque:
            try:
                text = batch.column(index).cast(pa.string())
            except pa.ArrowInvalid:
                continue
            batch = batch.set_column(index, described.name, text)
    return batch
