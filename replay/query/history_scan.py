"""Going through every state in the order of the log, each beside the one that its document had before.

A history is kept in the order in which it was folded, a flush at a time, and inside of a flush by
its documents. So one reading of it, in the order in which it is kept, gives the log a stretch at a
time: one ends wherever all changes up to the highest number seen are there. DuckDB takes whole
numbers out of the states in its own threads, while those before are counted here. What they were in
the state before is looked up by the number of that change; for this each value of each change is
kept in memory: eight bytes of a sum, one of a condition.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query import part_projection
from replay.query.number_columns import KeptNumbers
from replay.query.scan_types import Drawn, Numbers, Stretch
from replay.query.sql_compiler import Expression
from storage.errors import WorkspaceError
from storage.ingest.io.prefetch import ahead

_FIRST = 20_000
"""Events of the first stretch; each further one has four times as many changes at least."""
_LONGEST = 1_000_000
_BATCHES = 4
"""Batches of DuckDB's, a row group each, that are drawn in advance."""


def scan_log_history(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    expression: Expression,
    drawn: Sequence[Drawn],
    kind: type[np.generic],
    *,
    soon: bool = True,
) -> Generator[Stretch, None, None]:
    """Yield every change of a history that is kept whole; see `replay.query.scan.scan_history`."""
    states = _states(connection, history, expression)
    columns = "".join(
        f", CASE WHEN gone THEN 0 ELSE {one.value} END AS a{n}" for n, one in enumerate(drawn)
    )
    query = (
        f'SELECT change, "offset", coalesce(previous, -1) AS previous{columns} FROM ({states}'
        ' WHERE projection = ? AND timeline = ? AND "offset" >= ? AND "offset" < ?)'
    )

    def batches() -> Iterator[pa.RecordBatch]:
        mine = [history.folded.number, history.folded.timeline]
        # A row group takes longer to come than somebody wants to wait for a first answer.
        first = _FIRST if soon else 0
        for part in ((0, first), (first, history.folded.folded)):
            yield from reading.sql(query, params=[*mine, *part]).to_arrow_reader(_LONGEST)

    with closing(connection.cursor()) as reading, closing(ahead(batches(), _BATCHES)) as rows:
        yield from _Sweeping(history, drawn, kind).through(rows)


def _states(connection: duckdb.DuckDBPyConnection, history: History, expression: Expression) -> str:
    """SQL for every change with the columns of an expression, and whether the document is `gone`."""
    folded = history.folded
    if not history.long_numbers and not folded.parts:
        kept = KeptNumbers(folded.numbers).columns
        values = expression.values_of_numbers(kept)
        if kept and values is not None:
            gone = f"coalesce(isnan({next(iter(kept.values()))}), false)"
            return f'SELECT "offset", key, change, previous, {gone} AS gone{values} FROM history'
    states = part_projection.states(connection, history, [expression])
    return (
        'SELECT "offset", key, change, previous, state IS NULL AS gone'
        f"{expression.values} FROM {states}"
    )


class _Sweeping:
    """What has come so far, each change at the place that its number says."""

    def __init__(self, history: History, drawn: Sequence[Drawn], kind: type[np.generic]) -> None:
        self._history = history
        self._changes = history.folded.changes
        # The last column stays 0: it is what -1 leads to.
        self._values = np.zeros((len(drawn), self._changes + 1), kind)
        self._wholes = [one.whole for one in drawn]
        self._waiting = np.zeros((2, 2 * _LONGEST), np.int64)
        """Offsets and numbers of the states before, of the changes from `_done` on."""
        self._done = 0
        self._received = 0
        self._highest = -1

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Stretch]:
        """The stretches, each as soon as all of it is there and long enough."""
        least, whole_events = 1, not self._history.routed
        for batch in filter(len, batches):
            end = self._taken(*(column.to_numpy() for column in batch.columns))
            if not whole_events and end > self._done:
                # Of the last event some changes may still be to come.
                end = self._last_event(end)
            if end - self._done >= least:
                yield self._until(end)
                least = min(4 * max(self._done, _FIRST), _LONGEST)
        if self._received != self._changes or self._highest + 1 != self._changes:
            raise self._damage()
        if self._done < self._changes:
            yield self._until(self._changes)

    def _taken(self, change: Numbers, offset: Numbers, previous: Numbers, *now: Numbers) -> int:
        """Put rows where they belong; the number below which now all changes are there."""
        fit = change.min() >= self._done and change.max() < self._changes
        if not (fit and previous.min() >= -1 and (previous < change).all()):
            raise self._damage()
        # By rows is thrice as fast.
        for row, value, whole in zip(self._values, now, self._wholes, strict=True):
            row[change] = whole(value)
        end = self._complete(change)
        self._make_room()
        places = change - self._done
        for row, number in zip(self._waiting, (offset, previous), strict=True):
            row[places] = number
        return end

    def _complete(self, change: Numbers) -> int:
        """The number below which all changes are there, now that these are."""
        missing = self._highest + 1 - self._received
        self._received += len(change)
        if missing > len(change):
            self._highest = max(self._highest, int(change.max()))
            return self._done
        first = max(missing - 1, 0)  # before it some are missing whatever comes
        highest = np.maximum.accumulate(change)[first:]
        np.maximum(highest, self._highest, out=highest)
        self._highest = int(highest[-1])
        counted = np.arange(self._received - len(highest), self._received)
        ends = counted[highest == counted]
        return int(ends[-1]) + 1 if len(ends) else self._done

    def _make_room(self) -> None:
        needed = self._highest + 1 - self._done
        if needed > self._waiting.shape[1]:
            wider = np.zeros((2, 2 * needed), np.int64)
            wider[:, : self._waiting.shape[1]] = self._waiting
            self._waiting = wider

    def _last_event(self, end: int) -> int:
        """The number of the first change of the event that has the last one before `end`."""
        offsets = self._waiting[0, : end - self._done]
        return self._done + int(np.searchsorted(offsets, offsets[-1]))

    def _until(self, end: int) -> Stretch:
        first, count = self._done, end - self._done
        offsets, previous = self._waiting[:, :count].copy()
        rest = self._highest + 1 - end
        self._waiting[:, :rest] = self._waiting[:, count : count + rest].copy()
        self._done = end
        ended = end == self._changes
        until = self._history.folded.folded - 1 if ended else int(offsets[-1])
        before = self._values.take(previous, axis=1)
        changes = np.arange(first, end)
        return Stretch(until, changes, offsets, self._values[:, first:end], before)

    def _damage(self) -> WorkspaceError:
        """A stranger's numbers may be any; ours count up from 0, and lead back."""
        return WorkspaceError(
            f"{self._history.workspace.path} is damaged: the changes of {self._history.folded.name}"
            " aren't numbered in the order of the log; fold it again with refold replay --force."
        )
