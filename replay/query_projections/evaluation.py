"""Evaluates a relation over the events up to a position, or over the events of some documents.

The relation runs on a separate connection with a view called `events`, and writes its documents to a
temporary table of that connection. The workspace doesn't change.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from replay.query_projections.engines import Relation
from replay.query_projections.rows_to_documents import DOCUMENTS_TABLE, InvalidDocumentsError
from storage.errors import CancelledError, ProjectionError
from storage.log.positions import START
from storage.log.tombstones import IS_HANDLED_SQL
from storage.query import sql_query
from storage.workspace.schema import EVENTS
from storage.workspace.workspace import Workspace

__all__ = ["DOCUMENTS_TABLE", "EVENT_COLUMNS_SQL", "RelationEvaluation", "open_evaluation"]

EVENT_COLUMNS_SQL = ", ".join(f'"{name}"' for name, _ in EVENTS.columns)

_POLL_SECONDS = 0.1


class RelationEvaluation:
    """A relation and the connection on which it is evaluated."""

    def __init__(
        self,
        workspace: Workspace,
        connection: duckdb.DuckDBPyConnection,
        relation: Relation,
        projection_name: str,
    ) -> None:
        self._workspace = workspace
        self.connection = connection
        self.relation = relation
        self.projection_name = projection_name
        self.events_table_sql = self.table_sql("events")

    def table_sql(self, name: str) -> str:
        """Return SQL for a table of the workspace, even if a temporary view hides its name here."""
        return self._workspace.table_sql(self.connection, name)

    def evaluate_at(self, offset: int) -> None:
        """Write the documents of a position to `DOCUMENTS_TABLE`; raises `ProjectionError`."""
        self.evaluate_over(
            f'SELECT {EVENT_COLUMNS_SQL} FROM {self.events_table_sql} WHERE "offset" <= {int(offset)}',
            offset,
        )

    def evaluate_over(self, events: str, offset: int) -> None:
        """Write the documents over any events (SQL) to `DOCUMENTS_TABLE`.

        Raises `ProjectionError`, which names `offset`.
        """
        try:
            self.try_evaluate_over(events)
        except duckdb.InterruptException:
            raise
        except (InvalidDocumentsError, duckdb.Error) as error:
            raise self.evaluation_error(error, offset) from error

    def try_evaluate_over(self, events: str) -> None:
        """Write the documents over any events (SQL) to `DOCUMENTS_TABLE`, without translating errors.

        Raises `InvalidDocumentsError`, `duckdb.Error` and `ProjectionError`.
        """
        self.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW events AS FROM ({events}) WHERE {IS_HANDLED_SQL}"
        )
        self.relation.evaluate(self.connection)

    def evaluation_error(self, error: Exception, offset: int) -> ProjectionError:
        """Return the error of an evaluation as a `ProjectionError` that names the offset."""
        where = "before the first event" if offset == START else f"at offset {offset:,}"
        if isinstance(error, InvalidDocumentsError):
            return ProjectionError(f"{self.projection_name} {error} {where}.")
        message = sql_query.translate_query_error(error).message.removeprefix("The query failed: ")
        message = message.partition(" Did you mean")[0].rstrip(".!?")
        return ProjectionError(f"{self.projection_name} fails {where}: {message}.")


@contextmanager
def open_evaluation(
    workspace: Workspace,
    relation: Relation,
    projection_name: str,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[RelationEvaluation]:
    """Open an evaluation on a separate connection, interrupted when `is_cancelled` returns true.

    Raises `CancelledError` after an interrupt.
    """
    try:
        # A separate connection, because the temporary view `events` hides the table there.
        with (
            workspace.main_workspace.reading() as connection,
            _interrupt_when_cancelled(connection, is_cancelled),
        ):
            yield RelationEvaluation(workspace, connection, relation, projection_name)
    except duckdb.InterruptException as error:
        raise CancelledError("Stopped; the states so far are kept.") from error


@contextmanager
def _interrupt_when_cancelled(
    connection: duckdb.DuckDBPyConnection, is_cancelled: Callable[[], bool]
) -> Iterator[None]:
    """Interrupt DuckDB from a thread, because nothing else can stop a running query."""
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(_POLL_SECONDS):
            if is_cancelled():
                with contextlib.suppress(duckdb.Error):
                    connection.interrupt()

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
