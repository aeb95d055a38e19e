"""Where a condition on documents turned: the history is gone through a stretch of the log at a time.

So the first moments are known at once, and whoever asks can stop in between. What is carried from
one stretch to the next are the documents for which the condition holds, which are few.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from replay.expressions import Expression
from replay.history import History
from storage.conditions import unanswerable

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST = 20_000
"""Offsets of the first stretch; each further one is twice as long."""
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Stretch:
    """What one stretch of the log brought."""

    until: int
    """Its last offset; everything up to there has been looked at."""
    others: int
    """States in it that hold a value of another kind than it is compared as."""
    turns: "pa.Table"
    """`offset`, `key`, `holds`: whether it became true or stopped being so; and `state`."""


def stretches(history: History, expression: Expression, *, to: bool | None) -> Iterator[Stretch]:
    """Turns in the order of the log; only those to `to`, where it isn't None.

    A document that isn't there counts as false. Raises `QueryError` where it can't be answered.
    """
    first, size = 0, _FIRST
    with history.workspace.reading() as connection:
        connection.execute("CREATE TEMP TABLE holding (bucket UINTEGER, key VARCHAR)")
        try:
            while first < history.folded.folded:
                until = min(first + size, history.folded.folded) - 1
                yield _stretch(connection, history, expression, (first, until), to)
                first, size = until + 1, min(size * 2, _LONGEST)
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            # It may overflow, or call a function in a way that it can't be called.
            raise unanswerable(expression.text, "states", error) from error


def _stretch(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    expression: Expression,
    bounds: tuple[int, int],
    to: bool | None,
) -> Stretch:
    mine: list[Any] = [history.folded.number, history.folded.timeline, *bounds]
    where = 'projection = ? AND timeline = ? AND "offset" BETWEEN ? AND ?'
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE told AS SELECT "offset", bucket, key,'
        f" state IS NOT NULL AND {expression.sql} AS holds, {expression.others} AS other FROM"
        f' (SELECT "offset", bucket, key, state{expression.values} FROM history WHERE {where})',
        mine,
    )
    ((others,),) = connection.execute("SELECT count(*) FROM told WHERE other").fetchall()
    # Most conditions hold for few documents, and only those need be put in order.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE turned AS WITH few AS (SELECT bucket, key, true AS held FROM"
        " holding UNION ALL (SELECT DISTINCT bucket, key, false FROM told WHERE holds"
        " EXCEPT SELECT bucket, key, false FROM holding)),"
        ' compared AS (SELECT "offset", bucket, key, holds, coalesce(lag(holds) OVER'
        ' (PARTITION BY bucket, key ORDER BY "offset"), held) AS held'
        " FROM told JOIN few USING (bucket, key)) FROM compared WHERE holds <> held"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE holding AS WITH last AS (SELECT bucket, key,"
        ' arg_max(holds, "offset") AS holds FROM turned GROUP BY ALL)'
        " SELECT bucket, key FROM holding ANTI JOIN last USING (bucket, key)"
        " UNION ALL SELECT bucket, key FROM last WHERE holds"
    )
    wanted = "true" if to is None else f"holds = {to}"
    turns = connection.sql(
        f'SELECT "offset", key, holds, state FROM (FROM turned WHERE {wanted}) JOIN'
        f' (SELECT bucket, key, "offset", state FROM history WHERE {where})'
        ' USING (bucket, key, "offset") ORDER BY "offset", key',
        params=mine,
    ).to_arrow_table()
    return Stretch(bounds[1], others, turns)
