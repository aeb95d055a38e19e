"""Going through every state in the order of the log, each beside the one that its document had before.

The log is taken a stretch at a time, so the first answers are there at once, and whoever asks can
stop in between. DuckDB takes whole numbers out of the states; what they were in the state before is
looked up by the number of that change. For this each value of each change is kept in memory: eight
bytes of a sum, one of a condition.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from replay.history import History
from storage.connections import arrow
from storage.errors import WorkspaceError

Numbers = np.ndarray[Any, np.dtype[Any]]

_FIRST = 20_000
"""Offsets of the first stretch; each further one is four times as long. Where one ends, the states
around are read twice, as they are kept in the order of their keys."""
_LONGEST = 2_000_000


@dataclass(frozen=True)
class Stretch:
    """The changes of one stretch of the log, in any order."""

    first: int
    until: int
    """Its first and last offset."""
    offsets: Numbers
    changes: Numbers
    """Their numbers, all from the lowest to the highest."""
    now: Numbers
    """The values of each state: a row a value, a column a change."""
    before: Numbers
    """The same of the document's state before; 0 where it had none."""


def sweep(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    taken: str,
    values: Sequence[str],
    kind: type[np.generic],
) -> Iterator[Stretch]:
    """Every change of a history, with whole numbers made of its state by SQL.

    `taken` are further columns beside those of `history`, as `Expression.values` has them, and
    `values` expressions over both, of the given kind. A state that isn't there has zeros. Raises
    `WorkspaceError` where the changes aren't numbered as they should be, and DuckDB's errors.
    """
    columns = "".join(
        f", CASE WHEN state IS NULL THEN 0 ELSE {value} END AS a{n}"
        for n, value in enumerate(values)
    )
    query = (
        f'SELECT "offset", change, coalesce(previous, -1) AS previous{columns}'
        f' FROM (SELECT "offset", key, change, previous, state{taken} FROM history'
        ' WHERE projection = ? AND timeline = ? AND "offset" BETWEEN ? AND ?)'
    )
    # The last column stays 0: it is what -1 leads to.
    kept = np.zeros((len(values), history.folded.changes + 1), kind)
    mine = [history.folded.number, history.folded.timeline]
    first, size, seen = 0, _FIRST, 0
    while first < history.folded.folded:
        until = min(first + size, history.folded.folded) - 1
        found = arrow(connection, query, [*mine, first, until])
        offset, change, previous, *asked = (column.to_numpy() for column in found.columns)
        _refuse_strange(history, change, previous, seen)
        for row, value in zip(kept, asked, strict=True):  # by rows is thrice as fast
            row[change] = value
        before = kept.take(previous, axis=1)
        yield Stretch(first, until, offset, change, np.array(asked, kind), before)
        seen += len(change)
        first, size = until + 1, min(size * 4, _LONGEST)


def _refuse_strange(history: History, change: Numbers, previous: Numbers, first: int) -> None:
    """A stranger's numbers may be any; ours count from the stretch before on, and lead back."""
    if not len(change):
        return
    past = first + len(change)
    fit = past <= history.folded.changes and change.min() == first and change.max() == past - 1
    if not (fit and previous.min() >= -1 and (previous < change).all()):
        raise WorkspaceError(
            f"{history.workspace.path} is damaged: the changes of {history.folded.name} aren't"
            " numbered in the order of the log; fold it again with refold replay --force."
        )
