"""The format of rows that a database or Kafka delivers as Arrow batches.

Columns pass unchanged; the metadata of each column in the batch's schema holds its kind.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import polars as pl
import pyarrow as pa

from storage.ingest.formats import LINE_COLUMN, FieldSql, ReadPass, columns, number_precision
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import unique_column_name

_KIND_METADATA = b"kind"
_MAX_BATCH_BYTES = 64 << 20
"""Most bytes of rows that are passed on at once."""


class RowFormat(columns.ColumnFormat):
    """A format whose rows the source reads itself."""

    is_whole_file = False

    def __init__(self, name: str) -> None:
        self.name = name

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - no file has this format
        return False

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - as above
        return []

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - as above
        return iter(())

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:
        metadata_by_name = {field.name: field.metadata or {} for field in schema}
        types = {
            name: metadata[_KIND_METADATA].decode()
            for name, metadata in metadata_by_name.items()
            if _KIND_METADATA in metadata
        }
        known = {
            name: unique_column_name(name)
            for name in types
            if unique_column_name(name) in schema.names
        }
        return columns.compile_row(types, mapping, known)


def number_rows(
    rows: Iterator[pa.RecordBatch],
    types: Mapping[str, str],
    reading: ReadPass,
    mapping: FieldMapping,
) -> Iterator[pa.RecordBatch]:
    """Yield rows as batches of `RowFormat` with line numbers; advances `reading.line_count`.

    `types` are the columns' types by name.
    """
    reading.line_count = reading.start_line
    decoded_columns, json_columns = (
        columns.list_decoded_columns(mapping),
        columns.list_json_columns(types, mapping),
    )
    for bare in _gather_batches(rows):
        batch = _decode_utf8(bare, decoded_columns)
        for index, column in enumerate(batch.schema):
            metadata = {
                **(column.metadata or {}),
                _KIND_METADATA: _column_kind(types[column.name], column.type),
            }
            batch = batch.set_column(index, column.with_metadata(metadata), batch.column(index))
        for part in batch.combine_chunks().to_batches():
            line = pa.array(np.arange(part.num_rows) + reading.line_count + 1)
            reading.line_count += part.num_rows
            yield _mark_fragile_numbers(part, json_columns).append_column(LINE_COLUMN, line)


def _mark_fragile_numbers(batch: pa.RecordBatch, json_columns: Collection[str]) -> pa.RecordBatch:
    """For each JSON column, add a second one that says whether parsing its numbers would lose digits."""
    for name in json_columns:
        if name in batch.schema.names and pa.types.is_string(batch.schema.field(name).type):
            texts = batch.column(name)
            fragile = number_precision.find_fragile_lines(texts, pl.Series(pl.from_arrow(texts)))
            batch = batch.append_column(unique_column_name(name), pa.array(fragile))
    return batch


def _gather_batches(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in larger tables, because later steps cost a fixed time for each table."""
    for _, alike in groupby(rows, lambda batch: batch.schema):
        gathered: list[pa.RecordBatch] = []
        count = size = 0
        for batch in alike:
            gathered.append(batch)
            count, size = count + batch.num_rows, size + batch.nbytes
            if count >= columns.BATCH_ROWS or size >= _MAX_BATCH_BYTES:
                yield pa.Table.from_batches(gathered)
                gathered, count, size = [], 0, 0
        if gathered:
            yield pa.Table.from_batches(gathered)


def _column_kind(declared: str, actual: pa.DataType) -> str:
    """Return the kind of a column's actual values, which may differ from the declared type."""
    if pa.types.is_string(actual):
        return {
            "BLOB": "VARCHAR",
            "BIGINT": columns.NUMBER_TEXT,
            "DOUBLE": columns.NUMBER_TEXT,
        }.get(declared, declared)
    if pa.types.is_binary(actual):
        return "BLOB"
    if declared in ("BIGINT", "DOUBLE", columns.NUMBER_TEXT):
        return "DOUBLE" if pa.types.is_floating(actual) else "BIGINT"
    return declared


def _decode_utf8(batch: pa.Table, decoded_columns: Collection[str]) -> pa.Table:
    """Convert binary columns whose values are all UTF-8 to text; checks each column once for the batch."""
    for index, described in enumerate(batch.schema):
        if pa.types.is_binary(described.type) and described.name not in decoded_columns:
            try:
                text = batch.column(index).cast(pa.string())
            except pa.ArrowInvalid:
                continue
            batch = batch.set_column(index, described.name, text)
    return batch
