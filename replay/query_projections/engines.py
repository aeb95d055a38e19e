"""The two ways to ask for documents: SQL, which DuckDB answers, and a function for Polars.

Both look at a view called `events` of the connection that they are given, and leave their answer in
`documents.NOW` there. Polars runs in a worker process of the user's interpreter, which is handed
the columns that it draws.
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
from storage.errors import ProjectionError, QueryError
from storage.query import sql_query

_BATCH_EVENTS = 200_000
"""Events that a worker is handed at a time."""
_AGAIN_SECONDS = 0.1
_PATIENCE_FACTOR = 20
"""A function over all events may take so many times as long as one for a single event."""


class Relation(Protocol):
    """A query over all events, at hand. Use as a context manager."""

    @property
    def own_events_expression(self) -> str | None:
        """See `declaration.Declaration`."""

    @property
    def ready_header(self) -> Mapping[str, Any]:
        """`files`, `invariants` and `python`, as a worker says them when it is ready."""

    def evaluate(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Ask; raises `InvalidDocumentsError`, `duckdb.Error` and `ProjectionError`."""

    def __enter__(self) -> "Relation":
        """It is at hand from now on."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """It is not needed any more."""


def open_relation(
    reference: Reference,
    patience_seconds: float,
    memory_bytes: int | None,
    raise_if_cancelled: Callable[[], None],
) -> Relation:
    """The relation that a reference names; raises `ProjectionError`.

    `check` is called now and then while a worker computes, and may raise to end it.
    """
    if reference.is_sql:
        return SqlRelation(reference, _PATIENCE_FACTOR * patience_seconds)
    return PolarsRelation(reference, patience_seconds, memory_bytes, raise_if_cancelled)


class SqlRelation:
    """A query in SQL."""

    def __init__(
        self, reference: Reference, timeout_seconds: float = _PATIENCE_FACTOR * PATIENCE_SECONDS
    ) -> None:
        self._reference = reference
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
        with self._in_time(connection):
            rows_to_documents.create_documents_table(connection, self._query, self._reference.name)

    @contextmanager
    def _in_time(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Raise `ProjectionError` if DuckDB takes longer than a worker may."""
        expired = threading.Event()
        done = threading.Event()

        def interrupt() -> None:
            if done.wait(self._timeout_seconds):
                return
            expired.set()
            # Again and again: DuckDB forgets an interrupt that comes between two statements.
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
        """The one statement of the file; raises `ProjectionError` where it isn't one that asks."""
        try:
            query = sql_query.extract_statement(connection, self._text)
        except QueryError as error:
            raise ProjectionError(f"{self._reference.name} is no projection. {error}") from error
        except duckdb.ParserException as error:
            raise ProjectionError(
                f"{self._reference.name} can't be asked. {sql_query.translate_query_error(error).message}"
            ) from error
        sql_scope.refuse_others(connection, query, self._reference.name)
        return query


class PolarsRelation:
    """`project(events)` of a Python module, from a Polars LazyFrame to a frame."""

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
        trouble: duckdb.Error | None = None
        while (frame := self._receive_frame()).kind == "draw":
            try:
                self._send_events(connection, frame.header["draw"], frame.header["columns"])
            except duckdb.Error as error:
                trouble = error
                self._worker.send_answer({"kind": "failed", "draw": frame.header["draw"]}, ())
        if trouble is not None:
            raise trouble
        if frame.expected("raised", "projected").kind == "raised":
            raise InvalidDocumentsError(f"raised {frame.header['error']}")
        try:
            rows = ipc.open_stream(pa.py_buffer(frame.parts[0])).read_all()
        except pa.ArrowException as error:
            raise InvalidDocumentsError(f"gives a frame that can't be read ({error})") from error
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
        """Hand the worker these columns of all events in the order of their offsets."""
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
    """Whether events are read in the order of their offsets as they are."""
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
    """Arrow's stream format, which Polars reads without further libraries."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batch.schema) as stream:
        stream.write(batch)
    return out.getvalue()


def _cast_null_columns(rows: pa.Table) -> pa.Table:
    """The same where DuckDB knows all types; a column of nothing but nulls has none that it knows."""
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
