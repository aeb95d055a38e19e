"""Where a condition on documents turned: true of a state, but not of the document's state before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query.scan import scan_history
from replay.query.scan_types import Drawn, Stretch
from replay.query.sql_compiler import Expression
from storage.db.query import arrow
from storage.query.condition_parser import unanswerable

if TYPE_CHECKING:
    from replay.query.scan_types import Numbers


@dataclass(frozen=True)
class Turns:
    """What one stretch of the log brought."""

    until: int
    """Its last offset; everything up to there has been looked at."""
    others: int
    """States in it that hold a value of another kind than it is compared as."""
    rows: pa.Table
    """`offset`, `key`, and `holds`: whether it became true or stopped being so."""


def turns(history: History, expression: Expression, *, to: bool | None) -> Iterator[Turns]:
    """Turns in the order of the log; only those to `to`, where it isn't None.

    A document that isn't there counts as false. Raises `QueryError` where it can't be answered.
    """
    told = (
        f"CAST({expression.sql} AS UTINYINT) + CAST(2 * CAST({expression.others} AS UTINYINT)"
        " AS UTINYINT)"
    )
    with history.workspace.reading() as connection:
        try:
            for stretch in scan_history(connection, history, expression, [Drawn(told)], np.uint8):
                holds, held = stretch.now[0] & 1 == 1, stretch.before[0] & 1 == 1
                turned = holds != held if to is None else (holds != held) & (holds == to)
                others = int(np.count_nonzero(stretch.now[0] & 2))
                rows = _named(connection, history, stretch, np.flatnonzero(turned), holds)
                yield Turns(stretch.until, others, rows)
        except (duckdb.DataError, duckdb.ProgrammingError) as error:
            # It may overflow, or call a function in a way that it can't be called.
            raise unanswerable(expression.text, "states", error) from error


def _named(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    stretch: Stretch,
    places: "Numbers",
    holds: "Numbers",
) -> pa.Table:
    """Changes at these places of a stretch, with their documents' keys, which few of them need."""
    turned = pa.table({"change": stretch.changes[places], "holds": holds[places]})
    offsets = stretch.offsets[places]
    first, last = (offsets.min(), offsets.max()) if len(offsets) else (0, -1)
    connection.register("turned", turned)
    try:
        return arrow(
            connection,
            'SELECT "offset", key, holds FROM history JOIN turned USING (change)'
            ' WHERE projection = ? AND timeline = ? AND "offset" BETWEEN ? AND ?'
            ' ORDER BY "offset", key',
            [history.folded.number, history.folded.timeline, int(first), int(last)],
        )
    finally:
        connection.unregister("turned")
