"""Rows that arrive as Arrow batches from what is no file, as a format of their own.

The columns pass as they are; what they are is kept with each in the schema of its batch.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import polars as pl
import pyarrow as pa

from storage.ingest.formats import LINE, Fields, Reading, columns, number_precision
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import own

_KIND = b"kind"
_MOST_BYTES = 64 << 20
"""Of rows that are passed on at once."""


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

    def fields(self, mapping: FieldMapping, schema: pa.Schema) -> Fields:
        said = {field.name: field.metadata or {} for field in schema}
        types = {name: kept[_KIND].decode() for name, kept in said.items() if _KIND in kept}
        known = {name: own(name) for name in types if own(name) in schema.names}
        return columns.of_row(types, mapping, known)


def numbered(
    rows: Iterator[pa.RecordBatch],
    types: Mapping[str, str],
    reading: Reading,
    mapping: FieldMapping,
) -> Iterator[pa.RecordBatch]:
    """Rows with these columns as batches of `Rows`; counts `reading.lines`."""
    reading.lines = reading.start_line
    opaque, opened = columns.opaque(mapping), columns.opened(types, mapping)
    for bare in _gathered(rows):
        batch = _as_text(bare, opaque)
        for index, there in enumerate(batch.schema):
            kept = {**(there.metadata or {}), _KIND: _type(types[there.name], there.type)}
            batch = batch.set_column(index, there.with_metadata(kept), batch.column(index))
        for found in batch.combine_chunks().to_batches():
            line = pa.array(np.arange(found.num_rows) + reading.lines + 1)
            reading.lines += found.num_rows
            yield _looked_at(found, opened).append_column(LINE, line)


def _looked_at(batch: pa.RecordBatch, opened: Collection[str]) -> pa.RecordBatch:
    """With what is known of the numbers in its JSON."""
    for name in opened:
        if name in batch.schema.names and pa.types.is_string(batch.schema.field(name).type):
            texts = batch.column(name)
            fragile = number_precision.fragile(texts, pl.Series(pl.from_arrow(texts)))
            batch = batch.append_column(own(name), pa.array(fragile))
    return batch


def _gathered(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, enough of them at once: whatever is done with them is done for all."""
    for _, alike in groupby(rows, lambda batch: batch.schema):
        waiting: list[pa.RecordBatch] = []
        count = size = 0
        for batch in alike:
            waiting.append(batch)
            count, size = count + batch.num_rows, size + batch.nbytes
            if count >= columns.BATCH or size >= _MOST_BYTES:
                yield pa.Table.from_batches(waiting)
                waiting, count, size = [], 0, 0
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
