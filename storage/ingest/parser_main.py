"""The main program of a parser process: answer requests about untrusted files until input ends.

It imports its libraries and limits itself (`storage.ingest.parser.parser_limits`) before it opens the first
file.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.ipc

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import ReadPass
from storage.ingest.formats.arrow import ArrowIpc, Parquet
from storage.ingest.mapping import FieldMapping
from storage.ingest.parser import batch_frame, parser_limits
from storage.ingest.sources.databases.database import Database
from storage.ingest.sources.databases.duckdb_file import DuckDbFile
from storage.ingest.sources.databases.sqlite import Sqlite
from storage.ingest.sources.uris import SourceUri

_FORMATS = {form.name: form for form in (Parquet(), ArrowIpc())}
_DATABASES: dict[str, Callable[[SourceUri], Database]] = {"sqlite": Sqlite, "duckdb": DuckDbFile}
_LARGEST_BYTES = 64 << 20
"""Maximum bytes of a batch; a larger one is sent in pieces."""


def main() -> None:
    """Read requests from standard input, one JSON object per line, and answer each with frames."""
    settings = json.loads(sys.argv[2])
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    parser_limits.shut_in(settings["size_bytes"], settings["writable"])
    session = _Session(answers, parser_limits.allowed_seconds(settings["size_bytes"]))
    while line := requests.readline():
        session.answer(json.loads(line))
    os._exit(0)  # skips the slow shutdown of the libraries; everything is written


class _Session:
    """The state of a parser process while it answers requests one by one."""

    def __init__(self, answers: BinaryIO, seconds: int) -> None:
        self._answers = answers
        self._seconds = seconds
        self._schema: pa.Schema | None = None

    def answer(self, request: dict[str, Any]) -> None:
        """Answer a request with frames; errors become frames too."""
        parser_limits.grant_seconds(self._seconds)
        self._schema = None
        try:
            if request["op"] == "tables":
                tables = {
                    name: dict(found) for name, found in _database(request).list_tables().items()
                }
                self._end(tables)
                return
            for batch in _batches(request):
                for piece in _split_large_batch(batch):
                    self._send(piece)
            self._end(None)
        except SourceError as error:
            self._send_error("refused", error.message)
        except (MemoryError, duckdb.OutOfMemoryException):
            self._send_error("memory", "")
        except Exception as error:  # noqa: BLE001 - hostile bytes raise nearly everything
            self._send_error("failed", summarize_error(error))

    def _send(self, batch: pa.RecordBatch) -> None:
        if batch.schema != self._schema:
            self._schema = batch.schema
            described = batch_frame.describe_schema(batch.schema)
            batch_frame.write_frame(self._answers, {"kind": "schema", "schema": described})
        header, buffers = batch_frame.split_batch(batch)
        batch_frame.write_frame(self._answers, header, buffers)
        parser_limits.grant_seconds(self._seconds)

    def _send_error(self, kind: str, message: str) -> None:
        batch_frame.write_frame(self._answers, {"kind": kind, "message": message})

    def _end(self, result: Any) -> None:
        batch_frame.write_frame(self._answers, {"kind": "end", "result": result})


def _batches(request: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    if request["op"] == "read":
        with _database(request).read_query(request["query"]) as batches:
            yield from map(_cast_to_frame_types, batches)
        return
    form = _FORMATS[request["format"]]
    if request["op"] == "sample":
        yield from map(_cast_to_frame_types, form.parse_sample(request["path"]))
        return
    mapping = FieldMapping.from_json(request["mapping"])
    yield from form.parse_batches(ReadPass(request["path"]), mapping)


def _database(request: dict[str, Any]) -> Database:
    link = SourceUri(request["kind"], request["path"], {}, request["public"])
    return _DATABASES[request["kind"]](link)


def _split_large_batch(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    size = batch.nbytes
    if size <= _LARGEST_BYTES:
        yield batch
        return
    rows = max(1, batch.num_rows * _LARGEST_BYTES // size)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _cast_to_frame_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch without metadata; columns of types that frames don't support become text."""
    arrays, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        try:
            column = column.cast(_without_dictionaries(field.type))  # noqa: PLW2901 - the same values
            batch_frame.describe_schema(pa.schema([pa.field(field.name, column.type)]))
        except (batch_frame.UnsupportedTypeError, pa.ArrowNotImplementedError):
            values = [None if value is None else str(value) for value in column.to_pylist()]
            column = pa.array(values, pa.string())  # noqa: PLW2901 - as above
        arrays.append(column)
        fields.append(pa.field(field.name, column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _without_dictionaries(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_dictionaries(kind.value_type)))
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return pa.struct([f.with_type(_without_dictionaries(f.type)) for f in fields])
    return kind
