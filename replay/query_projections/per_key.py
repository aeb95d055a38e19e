"""Computes all states of documents that depend on their own events only, one stretch at a time.

In each stretch of the log, round n evaluates the relation once for all documents that have an nth
event there, each over its events up to that one. The number of rounds is the number of events of the
busiest document. An event can't change other documents, so these need no evaluation.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from replay.query_projections.evaluation import (
    DOCUMENTS_TABLE,
    EVENT_COLUMNS_SQL,
    RelationEvaluation,
)
from replay.query_projections.rows_to_documents import InvalidDocumentsError
from storage.db.query import fetch_arrow
from storage.errors import ProjectionError, QueryError
from storage.query import condition_parser

_FIRST_STRETCH_EVENTS = 5_000
_MAX_STRETCH_EVENTS = 400_000
"""The most events of a stretch."""
_MAX_POOL_EVENTS = 400_000
"""If the documents of a stretch have more events up to its end, the next stretch is shorter."""
MAX_EVENTS_PER_DOCUMENT = 20_000
"""The most events of one document, because each costs one round."""


@dataclass(frozen=True)
class StretchStates:
    """The states of a stretch of the log."""

    states: pa.Table
    """`key`, `offset` and `state` after each event that belongs to a document."""
    routes: pa.Table | None
    """`offset` and `key` of these events; None if the documents are the streams."""
    end_offset: int
    """The end of the stretch, exclusive."""


class OwnEventsEvaluator:
    """Evaluates a relation over a log, stretch by stretch, with stretches of adaptive length."""

    def __init__(self, own_events_expression: str, projection_name: str) -> None:
        """`own_events_expression` is SQL over an event for the key of the document that owns it."""
        self._own_events_expression = own_events_expression
        self._projection_name = projection_name
        self._stretch_events = _FIRST_STRETCH_EVENTS

    def raise_if_unusable(self, evaluation: RelationEvaluation) -> None:
        """Raise `ProjectionError` if the expression is invalid, if a document has too many events, or
        if the relation gives documents for events without an owner."""
        try:
            condition_parser.check_condition(
                evaluation.connection, f"({self._own_events_expression}) IS NULL", "events"
            )
        except QueryError as error:
            raise ProjectionError(
                f"{self._projection_name} declares 'own events of {self._own_events_expression}', which"
                " isn't a valid expression over events. Give a column, or an expression such as"
                " data->>'sku'."
            ) from error
        busiest = evaluation.connection.execute(
            f"SELECT CAST(({self._own_events_expression}) AS VARCHAR) AS own, count(*) FROM"
            f" {evaluation.events_table_sql}"
            " WHERE own IS NOT NULL GROUP BY own ORDER BY 2 DESC LIMIT 1"
        ).fetchall()
        if busiest and busiest[0][1] > MAX_EVENTS_PER_DOCUMENT:
            raise ProjectionError(
                f"{busiest[0][0]!r} has {busiest[0][1]:,} events, and {self._projection_name} is evaluated"
                f" after at most {MAX_EVENTS_PER_DOCUMENT:,} events of one document. Give a stretch of the"
                " log with --from and --to."
            )
        self._raise_for_unowned_documents(evaluation)

    def _raise_for_unowned_documents(self, evaluation: RelationEvaluation) -> None:
        """Raise `ProjectionError` if events without an owner give documents: these would be missing."""
        try:
            evaluation.try_evaluate_over(
                f"SELECT {EVENT_COLUMNS_SQL} FROM {evaluation.events_table_sql} WHERE"
                f" ({self._own_events_expression}) IS NULL"
            )
        except duckdb.InterruptException:
            raise
        except (InvalidDocumentsError, duckdb.Error):
            return  # an invalid result is reported when the events with an owner are evaluated
        unowned = evaluation.connection.execute(
            f"SELECT key FROM {DOCUMENTS_TABLE} LIMIT 1"
        ).fetchall()
        if unowned:
            raise ProjectionError(
                f"{self._projection_name} declares 'own events of {self._own_events_expression}', but"
                " events for which this is NULL change the document"
                f" {unowned[0][0]!r}. Filter these events out in the query, or remove the declaration."
            )

    def evaluate_stretch(
        self, evaluation: RelationEvaluation, first: int, event_count: int
    ) -> StretchStates:
        """Return the states of the stretch that begins at `first`.

        A stretch ends before an event at which the relation fails; raises `ProjectionError` if that
        is its first event.
        """
        end = min(first + self._stretch_events, event_count)
        connection = evaluation.connection
        connection.execute(
            'CREATE OR REPLACE TEMP TABLE touched AS SELECT own, "offset", row_number() OVER'
            ' (PARTITION BY own ORDER BY "offset") AS nth FROM (SELECT'
            f" CAST(({self._own_events_expression}) AS VARCHAR)"
            f' AS own, "offset" FROM {evaluation.events_table_sql} WHERE "offset" >= {first}'
            f' AND "offset" < {end})'
            " WHERE own IS NOT NULL"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE pool AS FROM"
            f" (SELECT {EVENT_COLUMNS_SQL}, CAST(({self._own_events_expression}) AS VARCHAR)"
            f" AS own FROM {evaluation.events_table_sql}"
            f' WHERE "offset" < {end}) SEMI JOIN touched USING (own)'
        )
        ((pool_count, inside, touched_count),) = connection.execute(
            f'SELECT count(*), count(*) FILTER ("offset" >= {first}), (SELECT count(*) FROM touched)'
            " FROM pool"
        ).fetchall()
        if inside != touched_count:
            raise ProjectionError(
                f"{self._projection_name} declares 'own events of {self._own_events_expression}', which"
                " isn't the same each time for one event. Give a deterministic expression."
            )
        try:
            self._evaluate_rounds(evaluation)
        except duckdb.InterruptException:
            raise
        except (InvalidDocumentsError, duckdb.Error) as error:
            at = self._find_failing_event(evaluation, first, end)
            if at == first:
                raise evaluation.evaluation_error(error, at) from error
            self._stretch_events = at - first
            return self.evaluate_stretch(evaluation, first, at)
        # Later in the log, the documents of a stretch have more earlier events to evaluate.
        self._stretch_events = (
            min(2 * self._stretch_events, _MAX_STRETCH_EVENTS)
            if pool_count < _MAX_POOL_EVENTS
            else max(self._stretch_events // 2, _FIRST_STRETCH_EVENTS)
        )
        found = fetch_arrow(connection, "FROM found")
        routes = None
        if self._own_events_expression != "stream":
            routes = fetch_arrow(
                connection, 'SELECT "offset", own AS key FROM touched ORDER BY "offset"'
            )
        return StretchStates(found, routes, end)

    def _evaluate_rounds(self, evaluation: RelationEvaluation) -> None:
        connection = evaluation.connection
        connection.execute(
            'CREATE OR REPLACE TEMP TABLE found (key VARCHAR, "offset" BIGINT, state VARCHAR)'
        )
        ((rounds,),) = connection.execute("SELECT coalesce(max(nth), 0) FROM touched").fetchall()
        for nth in range(1, rounds + 1):
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE turn AS SELECT own, "offset" AS until FROM touched'
                f" WHERE nth = {nth}"
            )
            self._evaluate_round(evaluation)
            connection.execute(
                f"INSERT INTO found SELECT own, until, state FROM turn LEFT JOIN {DOCUMENTS_TABLE} ON key = own"
            )

    def _evaluate_round(
        self, evaluation: RelationEvaluation, last_offset: int | None = None
    ) -> None:
        """Evaluate the documents of this round; only those with an event up to `last_offset`."""
        turn = (
            "turn" if last_offset is None else f"(FROM turn WHERE until <= {last_offset}) AS turn"
        )
        evaluation.try_evaluate_over(
            f'SELECT {EVENT_COLUMNS_SQL} FROM pool JOIN {turn} USING (own) WHERE "offset" <= until'
        )
        self._raise_for_foreign_documents(evaluation.connection)

    def _raise_for_foreign_documents(self, connection: duckdb.DuckDBPyConnection) -> None:
        foreign = connection.execute(
            f"SELECT key FROM {DOCUMENTS_TABLE} ANTI JOIN turn ON key = own LIMIT 1"
        ).fetchall()
        if foreign:
            raise InvalidDocumentsError(
                f"declares 'own events of {self._own_events_expression}', but gives the document"
                f" {foreign[0][0]!r}, which owns none of the events,"
            )

    def _find_failing_event(self, evaluation: RelationEvaluation, first: int, end: int) -> int:
        """Return the first event of the failed round at which the relation fails, by bisection."""
        low, high = first, end - 1
        while low < high:
            middle = (low + high) // 2
            try:
                self._evaluate_round(evaluation, middle)
            except duckdb.InterruptException:
                raise
            except (InvalidDocumentsError, duckdb.Error):
                high = middle
            else:
                low = middle + 1
        return low
