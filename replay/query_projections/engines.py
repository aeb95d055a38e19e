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
from replay.projection.reference import Reference
from replay.query_projections import rows_to_documents, sql_scope
from replay.query_projections.rows_to_documents import StrangeAnswerError
from replay.worker_host import event_frame
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_process import PATIENCE, Worker, WorkerDiedError, unloadable
from storage.errors import ProjectionError, QueryError
from storage.query import sql_query

_BATCH = 200_000
"""Events that a worker is handed at a time."""
_AGAIN_SECONDS = 0.1
_PATIENCE = 20
"""A function over all events may take so many times as long as one for a single event."""


class Relation(Protocol):
    """A query over all events, at hand. Use as a context manager."""

    @property
    def own(self) -> str | None:
        """See `declaration.Declaration`."""

    @property
    def ready(self) -> Mapping[str, Any]:
        """`files`, `invariants` and `python`, as a worker says them when it is ready."""

    def answer(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Ask; raises `StrangeAnswerError`, `duckdb.Error` and `ProjectionError`."""

    def __enter__(self) -> "Relation":
        """It is at hand from now on."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """It is not needed any more."""


def opened(
    wanted: Reference, patience: float, memory: int | None, check: Callable[[], None]
) -> Relation:
    """The relation that a reference names; raises `ProjectionError`.

    `check` is called now and then while a worker computes, and may raise to end it.
    """
    if wanted.is_sql:
        return Sql(wanted, _PATIENCE * patience)
    return Function(wanted, patience, memory, check)


class Sql:
    """A query in SQL."""

    def __init__(self, wanted: Reference, timeout_seconds: float = _PATIENCE * PATIENCE) -> None:
        self._wanted = wanted
        self._timeout_seconds = timeout_seconds
        try:
            text = Path(wanted.text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ProjectionError(f"{wanted.text} can't be read: {error}.") from error
        declared = declaration.of_sql(wanted, text)
        self.own = declared.own
        self.ready = {
            "files": declared.files,
            "invariants": dict(declared.invariants),
            "python": f"duckdb {duckdb.__version__}",
        }
        self._text = text
        self._query: str | None = None

    def __enter__(self) -> "Sql":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to be ended."""

    def answer(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._query is None:
            self._query = self._checked(connection)
        with self._in_time(connection):
            rows_to_documents.keep(connection, self._query, self._wanted.name)

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
                    f"{self._wanted.name} did not answer within {self._timeout_seconds:g} s."
                ) from error
            raise
        finally:
            done.set()
            timer.join()

    def _checked(self, connection: duckdb.DuckDBPyConnection) -> str:
        """The one statement of the file; raises `ProjectionError` where it isn't one that asks."""
        try:
            query = sql_query.only(connection, self._text)
        except QueryError as error:
            raise ProjectionError(f"{self._wanted.name} is no projection. {error}") from error
        except duckdb.ParserException as error:
            raise ProjectionError(
                f"{self._wanted.name} can't be asked. {sql_query.said(error).message}"
            ) from error
        sql_scope.refuse_others(connection, query, self._wanted.name)
        return query


class Function:
    """`project(events)` of a Python module, from a Polars LazyFrame to a frame."""

    def __init__(
        self, wanted: Reference, patience: float, memory: int | None, check: Callable[[], None]
    ) -> None:
        self._wanted = wanted
        self._check = check
        self._worker = Worker(wanted, projects=True, memory=memory, patience=_PATIENCE * patience)
        self.own: str | None = None
        self.ready: Mapping[str, Any] = {}

    def __enter__(self) -> "Function":
        self._worker.__enter__()
        try:
            frame = self._received()
            if frame.kind == "unusable":
                raise unloadable(self._wanted, frame.header)
            frame.ready_for("projection")
        except BaseException as error:
            self._worker.__exit__(type(error), error, None)
            raise
        self.own, self.ready = frame.header["own"], frame.header
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__(*_)

    def answer(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._worker.send({"kind": "project"}, ())
        trouble: duckdb.Error | None = None
        while (frame := self._received()).kind == "draw":
            try:
                self._hand(connection, frame.header["draw"], frame.header["columns"])
            except duckdb.Error as error:
                trouble = error
                self._worker.answer({"kind": "failed", "draw": frame.header["draw"]}, ())
        if trouble is not None:
            raise trouble
        if frame.expected("raised", "projected").kind == "raised":
            raise StrangeAnswerError(f"raised {frame.header['error']}")
        try:
            rows = ipc.open_stream(pa.py_buffer(frame.parts[0])).read_all()
        except pa.ArrowException as error:
            raise StrangeAnswerError(f"gives a frame that can't be read ({error})") from error
        connection.register("rows_of_frame", _readable(rows))
        try:
            rows_to_documents.keep(connection, "FROM rows_of_frame", self._wanted.name)
        finally:
            connection.unregister("rows_of_frame")

    def _received(self) -> Frame:
        try:
            return self._worker.receive(self._check)
        except WorkerDiedError as error:
            raise ProjectionError(f"The worker of {self._wanted.name} {error.what}.") from error

    def _hand(
        self, connection: duckdb.DuckDBPyConnection, draw: int, wanted: Sequence[str]
    ) -> None:
        """Hand the worker these columns of all events in the order of their offsets."""
        names = [name for name in event_frame.COLUMNS if name in wanted]
        columns = ", ".join(f'"{name}"' for name in names)
        ordered = "" if _in_order(connection) else ' ORDER BY "offset"'
        rows = connection.sql(f"SELECT {columns} FROM events{ordered}").to_arrow_reader(_BATCH)
        with closing(rows):
            for batch in rows:
                self._worker.answer({"kind": "events", "draw": draw}, (_packed(batch),))
        self._worker.answer({"kind": "end", "draw": draw}, ())


def _in_order(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether events are read in the order of their offsets as they are."""
    rows = connection.sql('SELECT "offset" FROM events').to_arrow_reader(_BATCH)
    last = -1
    with closing(rows):
        for batch in rows:
            offsets = batch["offset"].to_numpy()
            if len(offsets) and (offsets[0] <= last or (np.diff(offsets) <= 0).any()):
                return False
            last = int(offsets[-1]) if len(offsets) else last
    return True


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    """Arrow's stream format, which Polars reads without further libraries."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batch.schema) as stream:
        stream.write(batch)
    return out.getvalue()


def _readable(rows: pa.Table) -> pa.Table:
    """The same where DuckDB knows all types; a column of nothing but nulls has none that it knows."""
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
