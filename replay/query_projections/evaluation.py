"""Asking a relation over the events up to a position, or over those of some documents.

A connection of its own sees a view called `events`, and what the relation gives is left in a table
of the connection. Nothing in the workspace changes.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from replay.query_projections.engines import Relation
from replay.query_projections.rows_to_documents import NOW, StrangeAnswerError
from storage.errors import CancelledError, ProjectionError
from storage.log.positions import START
from storage.log.tombstones import HANDLED
from storage.query import sql_query
from storage.workspace.schema import EVENTS
from storage.workspace.workspace import Workspace

__all__ = ["COLUMNS", "NOW", "Asking", "asking"]

COLUMNS = ", ".join(f'"{name}"' for name, _ in EVENTS.columns)

_LOOK_SECONDS = 0.1


class Asking:
    """A relation and the connection on which it is asked."""

    def __init__(
        self,
        workspace: Workspace,
        connection: duckdb.DuckDBPyConnection,
        relation: Relation,
        name: str,
    ) -> None:
        self._workspace = workspace
        self.connection = connection
        self.relation = relation
        self.name = name
        self.log = self.table("events")

    def table(self, name: str) -> str:
        """SQL for a table of the workspace, whatever its name stands for on this connection."""
        return self._workspace.table(self.connection, name)

    def at(self, offset: int) -> None:
        """Leave the documents of a position in `NOW`; raises `ProjectionError`."""
        self.over(f'SELECT {COLUMNS} FROM {self.log} WHERE "offset" <= {int(offset)}', offset)

    def over(self, events: str, offset: int) -> None:
        """The same over any events (SQL); `offset` is told where it can't be answered."""
        try:
            self.try_over(events)
        except duckdb.InterruptException:
            raise
        except (StrangeAnswerError, duckdb.Error) as error:
            raise self.refusal(error, offset) from error

    def try_over(self, events: str) -> None:
        """The same; raises `StrangeAnswerError`, `duckdb.Error` and `ProjectionError`."""
        self.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW events AS FROM ({events}) WHERE {HANDLED}"
        )
        self.relation.answer(self.connection)

    def refusal(self, error: Exception, offset: int) -> ProjectionError:
        """What is wrong with an answer, as a sentence."""
        where = "before the first event" if offset == START else f"at offset {offset:,}"
        if isinstance(error, StrangeAnswerError):
            return ProjectionError(f"{self.name} {error} {where}.")
        said = sql_query.said(error).message.removeprefix("The query failed: ")
        said = said.partition(" Did you mean")[0].rstrip(".!?")
        return ProjectionError(f"{self.name} fails {where}: {said}.")


@contextmanager
def asking(
    workspace: Workspace,
    relation: Relation,
    name: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Asking]:
    """Ask on a connection of its own; a question is interrupted where `cancelled` says so."""
    try:
        # Views of its own take the names of tables there.
        with workspace.file.reading() as connection, _interrupted(connection, cancelled):
            yield Asking(workspace, connection, relation, name)
    except duckdb.InterruptException as error:
        raise CancelledError("Stopped; what was folded before is kept.") from error


@contextmanager
def _interrupted(
    connection: duckdb.DuckDBPyConnection, cancelled: Callable[[], bool]
) -> Iterator[None]:
    """Nothing else can end a question that DuckDB is busy with."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if cancelled():
                with contextlib.suppress(duckdb.Error):
                    connection.interrupt()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
