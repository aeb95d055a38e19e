"""Where a condition on documents turned: the history is gone through a stretch of the log at a time.

So the first moments are known at once, and whoever asks can stop in between. What is carried from
one stretch to the next are the documents for which the condition holds, which are few.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from replay.history import History
from replay.rewriting import Expression
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
    """`offset`, `key`, and `holds`: whether it became true or stopped being so."""


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
    # Without the keys, which are most of what would be written.
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE told AS SELECT row, "offset", bucket,'
        f" state IS NOT NULL AND {expression.sql} AS holds, {expression.others} AS other FROM"
        f' (SELECT rowid AS row, "offset", bucket, key, state{expression.values}'
        f" FROM history WHERE {where})",
        mine,
    )
    ((others,),) = connection.execute("SELECT count(*) FROM told WHERE other").fetchall()
    # Most conditions hold for few documents, and only those need be put in order.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE turned AS WITH few AS"
        " (SELECT bucket FROM holding UNION SELECT bucket FROM told WHERE holds),"
        ' keyed AS (SELECT t."offset", t.bucket, h.key, t.holds FROM'
        " (FROM told SEMI JOIN few USING (bucket)) AS t JOIN"
        f" (SELECT rowid AS row, key FROM history WHERE {where}) AS h USING (row)),"
        ' compared AS (SELECT k."offset", k.bucket, k.key, k.holds, coalesce(lag(k.holds) OVER'
        ' (PARTITION BY k.bucket, k.key ORDER BY k."offset"), was.key IS NOT NULL) AS held'
        " FROM keyed AS k LEFT JOIN holding AS was ON was.bucket = k.bucket AND was.key = k.key)"
        " FROM compared WHERE holds <> held",
        mine,
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE holding AS WITH last AS (SELECT bucket, key,"
        ' arg_max(holds, "offset") AS holds FROM turned GROUP BY ALL)'
        " SELECT bucket, key FROM holding ANTI JOIN last USING (bucket, key)"
        " UNION ALL SELECT bucket, key FROM last WHERE holds"
    )
    wanted = "true" if to is None else f"holds = {to}"
    turns = connection.sql(
        f'SELECT "offset", key, holds FROM turned WHERE {wanted} ORDER BY "offset", key'
    ).to_arrow_table()
    return Stretch(bounds[1], others, turns)
