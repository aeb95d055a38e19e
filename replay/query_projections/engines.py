"""The two engines of query projections: SQL in DuckDB, and a Polars function in a worker process.

Both read a view called `events` on the given connection, and write their documents to the table
`rows_to_documents.DOCUMENTS_TABLE` there. The Polars function runs in the user's interpreter, and
receives the columns that it requests.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import ipc

from replay.projection import declaration
from replay.projection.projection_reference import Reference
from replay.query_projections import rows_to_documents, sql_scope
from replay.query_projections.rows_to_documents import InvalidDocumentsError
from replay.worker_host import event_frame
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_process import (
    PATIENCE_SECONDS,
    Worker,
    WorkerDiedError,
    projection_load_error,
)
from storage.db.memory_ceiling import memory_ceiling
from storage.errors import ProjectionError, QueryError
from storage.query import sql_query
from storage.workspace.workspace_file import READ_MEMORY_BYTES

_BATCH_EVENTS = 200_000
"""Events that are sent to a worker at a time."""
_AGAIN_SECONDS = 0.1
_PATIENCE_FACTOR = 20
"""The time limit of a function over all events, as a multiple of the limit for one event."""


class Relation(Protocol):
    """An opened query over all events. Use it as a context manager."""

    @property
    def own_events_expression(self) -> str | None:
        """See `declaration.ProjectionDeclaration`."""

    @property
    def ready_header(self) -> Mapping[str, Any]:
        """`files`, `invariants` and `python`, as in the ready message of a worker."""

    def evaluate(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Run the query over the view `events`, and write the result to the documents table.

        Raises `InvalidDocumentsError`, `duckdb.Error` and `ProjectionError`.
        """

    def __enter__(self) -> "Relation":
        """Start what the query needs."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what the query needed."""


def open_relation(
    reference: Reference,
    patience_seconds: float,
    memory_bytes: int | None,
    raise_if_cancelled: Callable[[], None],
) -> Relation:
    """Return the relation that a reference names; raises `ProjectionError` if it can't be loaded.

    `raise_if_cancelled` is called repeatedly while a worker computes, and may raise to stop it.
    """
    if reference.is_sql:
        return SqlRelation(reference, _PATIENCE_FACTOR * patience_seconds, memory_bytes)
    return PolarsRelation(reference, patience_seconds, memory_bytes, raise_if_cancelled)


_SPARE_BYTES = 300_000_000
"""Memory of a query beside what DuckDB counts."""


class SqlRelation:
    """A query in SQL."""

    def __init__(
        self,
        reference: Reference,
        timeout_seconds: float = _PATIENCE_FACTOR * PATIENCE_SECONDS,
        memory_bytes: int | None = None,
    ) -> None:
        self._reference = reference
        self._memory_bytes = READ_MEMORY_BYTES if memory_bytes is None else memory_bytes
        self._timeout_seconds = timeout_seconds
        try:
            text = Path(reference.text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ProjectionError(f"{reference.text} can't be read: {error}.") from error
        sql_declaration = declaration.parse_sql_declaration(reference, text)
        self.own_events_expression = sql_declaration.own_events_expression
        self.ready_header = {
            "files": sql_declaration.files,
            "invariants": dict(sql_declaration.invariants),
            "python": f"duckdb {duckdb.__version__}",
        }
        self._text = text
        self._query: str | None = None

    def __enter__(self) -> "SqlRelation":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to be ended."""

    def evaluate(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._query is None:
            self._query = self._parse_query(connection)
        with self._in_time(connection), memory_ceiling(self._memory_bytes + _SPARE_BYTES):
            rows_to_documents.create_documents_table(connection, self._query, self._reference.name)

    @contextmanager
    def _in_time(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt DuckDB and raise `ProjectionError` if it takes longer than the time limit."""
        expired = threading.Event()
        done = threading.Event()

        def interrupt() -> None:
            if done.wait(self._timeout_seconds):
                return
            expired.set()
            # Repeat, because DuckDB ignores an interrupt that arrives between two statements.
            while not done.wait(_AGAIN_SECONDS):
                with suppress(duckdb.Error):
                    connection.interrupt()

        timer = threading.Thread(target=interrupt, daemon=True)
        timer.start()
        try:
            yield
        except duckdb.InterruptException as error:
            if expired.is_set():
                raise ProjectionError(
                    f"{self._reference.name} did not answer within {self._timeout_seconds:g} s."
                ) from error
            raise
        finally:
            done.set()
            timer.join()

    def _parse_query(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the statement of the file; raises `ProjectionError` unless it is one query over
        `events`."""
        try:
            query = sql_query.extract_statement(connection, self._text)
        except QueryError as error:
            raise ProjectionError(f"{self._reference.name} isn't a projection. {error}") from error
        except duckdb.ParserException as error:
            raise ProjectionError(
                f"{self._reference.name} isn't valid SQL. {sql_query.translate_query_error(error).message}"
            ) from error
        sql_scope.check_query_scope(connection, query, self._reference.name)
        return query


class PolarsRelation:
    """`project(events)` of a Python module: from a Polars LazyFrame to a frame."""

    def __init__(
        self,
        reference: Reference,
        patience_seconds: float,
        memory_bytes: int | None,
        raise_if_cancelled: Callable[[], None],
    ) -> None:
        self._reference = reference
        self._raise_if_cancelled = raise_if_cancelled
        self._worker = Worker(
            reference,
            projects=True,
            memory=memory_bytes,
            patience=_PATIENCE_FACTOR * patience_seconds,
        )
        self.own_events_expression: str | None = None
        self.ready_header: Mapping[str, Any] = {}

    def __enter__(self) -> "PolarsRelation":
        self._worker.__enter__()
        try:
            frame = self._receive_frame()
            if frame.kind == "unusable":
                raise projection_load_error(self._reference, frame.header)
            frame.ready_for("projection")
        except BaseException as error:
            self._worker.__exit__(type(error), error, None)
            raise
        self.own_events_expression, self.ready_header = frame.header["own"], frame.header
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__(*_)

    def evaluate(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._worker.send({"kind": "project"}, ())
        query_error: duckdb.Error | None = None
        while (frame := self._receive_frame()).kind == "draw":
            try:
                self._send_events(connection, frame.header["draw"], frame.header["columns"])
            except duckdb.Error as error:
                query_error = error
                self._worker.send_answer({"kind": "failed", "draw": frame.header["draw"]}, ())
        if query_error is not None:
            raise query_error
        if frame.expected("raised", "projected").kind == "raised":
            raise InvalidDocumentsError(f"raised {frame.header['error']}")
        try:
            rows = ipc.open_stream(pa.py_buffer(frame.parts[0])).read_all()
        except pa.ArrowException as error:
            raise InvalidDocumentsError(
                f"gives a frame that isn't readable as Arrow ({error})"
            ) from error
        connection.register("rows_of_frame", _cast_null_columns(rows))
        try:
            rows_to_documents.create_documents_table(
                connection, "FROM rows_of_frame", self._reference.name
            )
        finally:
            connection.unregister("rows_of_frame")

    def _receive_frame(self) -> Frame:
        try:
            return self._worker.receive(self._raise_if_cancelled)
        except WorkerDiedError as error:
            raise ProjectionError(
                f"The worker of {self._reference.name} {error.reason}."
            ) from error

    def _send_events(
        self,
        connection: duckdb.DuckDBPyConnection,
        draw_number: int,
        requested_columns: Sequence[str],
    ) -> None:
        """Send the requested columns of all events to the worker, in the order of offsets."""
        names = [name for name in event_frame.EVENT_COLUMNS if name in requested_columns]
        columns = ", ".join(f'"{name}"' for name in names)
        ordered = "" if _is_ordered_by_offset(connection) else ' ORDER BY "offset"'
        rows = connection.sql(f"SELECT {columns} FROM events{ordered}").to_arrow_reader(
            _BATCH_EVENTS
        )
        with closing(rows):
            for batch in rows:
                self._worker.send_answer(
                    {"kind": "events", "draw": draw_number}, (_encode_arrow_stream(batch),)
                )
        self._worker.send_answer({"kind": "end", "draw": draw_number}, ())


def _is_ordered_by_offset(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the view returns events in the order of offsets without sorting."""
    rows = connection.sql('SELECT "offset" FROM events').to_arrow_reader(_BATCH_EVENTS)
    last = -1
    with closing(rows):
        for batch in rows:
            offsets = batch["offset"].to_numpy()
            if len(offsets) and (offsets[0] <= last or (np.diff(offsets) <= 0).any()):
                return False
            last = int(offsets[-1]) if len(offsets) else last
    return True


def _encode_arrow_stream(batch: pa.RecordBatch) -> pa.Buffer:
    """Return the batch in Arrow's stream format, which Polars reads without further libraries."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batch.schema) as stream:
        stream.write(batch)
    return out.getvalue()


def _cast_null_columns(rows: pa.Table) -> pa.Table:
    """Return the rows with null-typed columns cast to text, because DuckDB has no null type."""
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
