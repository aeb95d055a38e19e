"""All states of documents that depend on their own events only, a stretch of the log at a time.

In a stretch, the relation is asked for the documents after the first of each one's events in it,
then after the second, and so on: as often as the busiest of them has events there, but each time
for all that have so many. What an event does to others needn't be asked.
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
"""Events of a stretch."""
_MAX_POOL_EVENTS = 400_000
"""Events that its documents may have in the log up to its end, before the next one is shorter."""
MAX_EVENTS_PER_DOCUMENT = 20_000
"""Events of one document after each of which it is asked, in all."""


@dataclass(frozen=True)
class StretchStates:
    """What came of a stretch of the log."""

    states: pa.Table
    """`key`, `offset` and `state` of each event that is a document's own."""
    routes: pa.Table | None
    """`offset` and `key`; None where a document is a stream."""
    end_offset: int
    """The first offset that isn't looked at."""


class OwnEventsEvaluator:
    """Goes through a log."""

    def __init__(self, own_events_expression: str, projection_name: str) -> None:
        """`own` is what tells whose event it is, and `name` whose relation."""
        self._own_events_expression = own_events_expression
        self._projection_name = projection_name
        self._stretch_events = _FIRST_STRETCH_EVENTS

    def raise_if_unusable(self, evaluation: RelationEvaluation) -> None:
        """Raise `ProjectionError` where it is no expression over events, or would take for ever."""
        try:
            condition_parser.check_condition(
                evaluation.connection, f"({self._own_events_expression}) IS NULL", "events"
            )
        except QueryError as error:
            raise ProjectionError(
                f"{self._projection_name} says that documents depend on the own events of"
                f" {self._own_events_expression!r},"
                " which can't be asked of events; it is a column, or an expression such as"
                " data->>'sku'."
            ) from error
        busiest = evaluation.connection.execute(
            f"SELECT CAST(({self._own_events_expression}) AS VARCHAR) AS own, count(*) FROM"
            f" {evaluation.events_table_sql}"
            " WHERE own IS NOT NULL GROUP BY own ORDER BY 2 DESC LIMIT 1"
        ).fetchall()
        if busiest and busiest[0][1] > MAX_EVENTS_PER_DOCUMENT:
            raise ProjectionError(
                f"{busiest[0][0]!r} has {busiest[0][1]:,} events, after each of which {self._projection_name}"
                f" would be asked, and it is {MAX_EVENTS_PER_DOCUMENT:,} at most; give a"
                " stretch of the log with"
                " --from and --to."
            )
        self._raise_for_unowned_documents(evaluation)

    def _raise_for_unowned_documents(self, evaluation: RelationEvaluation) -> None:
        """Documents of events that are nobody's would be missing."""
        try:
            evaluation.try_evaluate_over(
                f"SELECT {EVENT_COLUMNS_SQL} FROM {evaluation.events_table_sql} WHERE"
                f" ({self._own_events_expression}) IS NULL"
            )
        except duckdb.InterruptException:
            raise
        except (InvalidDocumentsError, duckdb.Error):
            return  # it is told of those events that are asked about, or of none
        strange = evaluation.connection.execute(
            f"SELECT key FROM {DOCUMENTS_TABLE} LIMIT 1"
        ).fetchall()
        if strange:
            raise ProjectionError(
                f"{self._projection_name} gives the document {strange[0][0]!r} for events of which"
                f" {self._own_events_expression!r} is NULL, though it says that documents"
                " depend on the own events of it."
            )

    def evaluate_stretch(
        self, evaluation: RelationEvaluation, first: int, event_count: int
    ) -> StretchStates:
        """The next stretch; raises `ProjectionError` where the relation fails at its first event."""
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
                f"{self._projection_name} tells its events apart by"
                f" {self._own_events_expression!r}, which isn't the same each time."
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
        # The later in the log, the more events its documents have had.
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
        """Ask for the documents whose turn it is; for those only whose event isn't behind `last`."""
        turn = (
            "turn" if last_offset is None else f"(FROM turn WHERE until <= {last_offset}) AS turn"
        )
        evaluation.try_evaluate_over(
            f'SELECT {EVENT_COLUMNS_SQL} FROM pool JOIN {turn} USING (own) WHERE "offset" <= until'
        )
        self._raise_for_foreign_documents(evaluation.connection)

    def _raise_for_foreign_documents(self, connection: duckdb.DuckDBPyConnection) -> None:
        strange = connection.execute(
            f"SELECT key FROM {DOCUMENTS_TABLE} ANTI JOIN turn ON key = own LIMIT 1"
        ).fetchall()
        if strange:
            raise InvalidDocumentsError(
                f"gives the document {strange[0][0]!r}, though it says that documents depend on the"
                f" own events of {self._own_events_expression!r}, and none of those is its,"
            )

    def _find_failing_event(self, evaluation: RelationEvaluation, first: int, end: int) -> int:
        """The first event in the round that has failed after which the relation can't be asked."""
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
