"""All states of documents that depend on their own events only, a stretch of the log at a time.

In a stretch, the relation is asked for the documents after the first of each one's events in it,
then after the second, and so on: as often as the busiest of them has events there, but each time
for all that have so many. What an event does to others needn't be asked.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from replay.query_projections.evaluation import COLUMNS, NOW, Asking
from replay.query_projections.rows_to_documents import StrangeAnswerError
from storage.db.query import arrow
from storage.errors import ProjectionError, QueryError
from storage.query import condition_parser

_FIRST = 5_000
_MOST = 400_000
"""Events of a stretch."""
_POOL = 400_000
"""Events that its documents may have in the log up to its end, before the next one is shorter."""
MOST_ASKED = 20_000
"""Events of one document after each of which it is asked, in all."""


@dataclass(frozen=True)
class Stretch:
    """What came of a stretch of the log."""

    found: pa.Table
    """`key`, `offset` and `state` of each event that is a document's own."""
    routes: pa.Table | None
    """`offset` and `key`; None where a document is a stream."""
    until: int
    """The first offset that isn't looked at."""


class OwnEvents:
    """Goes through a log."""

    def __init__(self, own: str, name: str) -> None:
        """`own` is what tells whose event it is, and `name` whose relation."""
        self._own = own
        self._name = name
        self._size = _FIRST

    def refuse(self, ask: Asking) -> None:
        """Raise `ProjectionError` where it is no expression over events, or would take for ever."""
        try:
            condition_parser.checked(ask.connection, f"({self._own}) IS NULL", "events")
        except QueryError as error:
            raise ProjectionError(
                f"{self._name} says that documents depend on the own events of {self._own!r},"
                " which can't be asked of events; it is a column, or an expression such as"
                " data->>'sku'."
            ) from error
        busiest = ask.connection.execute(
            f"SELECT CAST(({self._own}) AS VARCHAR) AS own, count(*) FROM {ask.log}"
            " WHERE own IS NOT NULL GROUP BY own ORDER BY 2 DESC LIMIT 1"
        ).fetchall()
        if busiest and busiest[0][1] > MOST_ASKED:
            raise ProjectionError(
                f"{busiest[0][0]!r} has {busiest[0][1]:,} events, after each of which {self._name}"
                f" would be asked, and it is {MOST_ASKED:,} at most; give a stretch of the log with"
                " --from and --to."
            )
        self._refuse_nobodys(ask)

    def _refuse_nobodys(self, ask: Asking) -> None:
        """Documents of events that are nobody's would be missing."""
        try:
            ask.try_over(f"SELECT {COLUMNS} FROM {ask.log} WHERE ({self._own}) IS NULL")
        except duckdb.InterruptException:
            raise
        except (StrangeAnswerError, duckdb.Error):
            return  # it is told of those events that are asked about, or of none
        strange = ask.connection.execute(f"SELECT key FROM {NOW} LIMIT 1").fetchall()
        if strange:
            raise ProjectionError(
                f"{self._name} gives the document {strange[0][0]!r} for events of which"
                f" {self._own!r} is NULL, though it says that documents depend on the own events of it."
            )

    def stretch(self, ask: Asking, first: int, total: int) -> Stretch:
        """The next stretch; raises `ProjectionError` where the relation fails at its first event."""
        end = min(first + self._size, total)
        connection = ask.connection
        connection.execute(
            'CREATE OR REPLACE TEMP TABLE touched AS SELECT own, "offset", row_number() OVER'
            f' (PARTITION BY own ORDER BY "offset") AS nth FROM (SELECT CAST(({self._own}) AS VARCHAR)'
            f' AS own, "offset" FROM {ask.log} WHERE "offset" >= {first} AND "offset" < {end})'
            " WHERE own IS NOT NULL"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE pool AS FROM"
            f" (SELECT {COLUMNS}, CAST(({self._own}) AS VARCHAR) AS own FROM {ask.log}"
            f' WHERE "offset" < {end}) SEMI JOIN touched USING (own)'
        )
        ((pool, inside, touched),) = connection.execute(
            f'SELECT count(*), count(*) FILTER ("offset" >= {first}), (SELECT count(*) FROM touched)'
            " FROM pool"
        ).fetchall()
        if inside != touched:
            raise ProjectionError(
                f"{self._name} tells its events apart by {self._own!r}, which isn't the same each time."
            )
        try:
            self._rounds(ask)
        except duckdb.InterruptException:
            raise
        except (StrangeAnswerError, duckdb.Error) as error:
            at = self._failing(ask, first, end)
            if at == first:
                raise ask.refusal(error, at) from error
            self._size = at - first
            return self.stretch(ask, first, at)
        # The later in the log, the more events its documents have had.
        self._size = min(2 * self._size, _MOST) if pool < _POOL else max(self._size // 2, _FIRST)
        found = arrow(connection, "FROM found")
        routes = None
        if self._own != "stream":
            routes = arrow(connection, 'SELECT "offset", own AS key FROM touched ORDER BY "offset"')
        return Stretch(found, routes, end)

    def _rounds(self, ask: Asking) -> None:
        connection = ask.connection
        connection.execute(
            'CREATE OR REPLACE TEMP TABLE found (key VARCHAR, "offset" BIGINT, state VARCHAR)'
        )
        ((rounds,),) = connection.execute("SELECT coalesce(max(nth), 0) FROM touched").fetchall()
        for nth in range(1, rounds + 1):
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE turn AS SELECT own, "offset" AS until FROM touched'
                f" WHERE nth = {nth}"
            )
            self._round(ask)
            connection.execute(
                f"INSERT INTO found SELECT own, until, state FROM turn LEFT JOIN {NOW} ON key = own"
            )

    def _round(self, ask: Asking, last: int | None = None) -> None:
        """Ask for the documents whose turn it is; for those only whose event isn't behind `last`."""
        turn = "turn" if last is None else f"(FROM turn WHERE until <= {last}) AS turn"
        ask.try_over(f'SELECT {COLUMNS} FROM pool JOIN {turn} USING (own) WHERE "offset" <= until')
        self._refuse_strangers(ask.connection)

    def _refuse_strangers(self, connection: duckdb.DuckDBPyConnection) -> None:
        strange = connection.execute(
            f"SELECT key FROM {NOW} ANTI JOIN turn ON key = own LIMIT 1"
        ).fetchall()
        if strange:
            raise StrangeAnswerError(
                f"gives the document {strange[0][0]!r}, though it says that documents depend on the"
                f" own events of {self._own!r}, and none of those is its,"
            )

    def _failing(self, ask: Asking, first: int, end: int) -> int:
        """The first event in the round that has failed after which the relation can't be asked."""
        low, high = first, end - 1
        while low < high:
            middle = (low + high) // 2
            try:
                self._round(ask, middle)
            except duckdb.InterruptException:
                raise
            except (StrangeAnswerError, duckdb.Error):
                high = middle
            else:
                low = middle + 1
        return low
