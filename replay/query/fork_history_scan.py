"""Going through every state of a fork: its parent's, a stretch at a time, with its own among them.

What the fork has otherwise is left out of the parent's stretches; its own changes, and what their
documents were before, are read beside them, and put in where they belong.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, Protocol

import duckdb
import numpy as np

from replay.history.fork_base import Forked
from replay.history.history import History
from replay.query import part_projection
from replay.query.scan_types import Drawn, Numbers, Stretch
from replay.query.sql_compiler import Expression
from storage.db.query import arrow


class ScanHistory(Protocol):
    """Scans a history of any timeline."""

    def __call__(
        self,
        connection: duckdb.DuckDBPyConnection,
        history: History,
        expression: Expression,
        drawn: Sequence[Drawn],
        kind: type[np.generic],
    ) -> Generator[Stretch, None, None]: ...


def scan_fork_history(
    connection: duckdb.DuckDBPyConnection,
    forked: Forked,
    expression: Expression,
    drawn: Sequence[Drawn],
    kind: type[np.generic],
    *,
    scan_parent: ScanHistory,
) -> Generator[Stretch, None, None]:
    """Yield every change of a fork's history; see `replay.query.scan.scan_history`.

    `scan_parent` scans the history of the timeline that was forked, which may be a fork too.
    """
    own = _own(connection, forked, expression, drawn, kind)
    gone = _gone(forked)
    overlay = forked.seen.overlay
    anchors = np.array(overlay.anchors, np.int64)
    last = forked.history.folded.folded - 1
    done = 0
    parents = forked.parents_since
    with (
        forked.parent.workspace.reading() as above,
        closing(scan_parent(above, forked.parent, expression, drawn, kind)) as stretches,
    ):
        for stretch in stretches:
            kept = ~np.isin(stretch.changes, gone)
            if forked.everything:
                kept &= stretch.offsets < parents
            offsets = stretch.offsets + np.searchsorted(anchors, stretch.offsets)
            until = min(overlay.from_parent(stretch.until), last)
            end = int(np.searchsorted(own.offsets, until, side="right"))
            yield _merged(stretch, kept, offsets, own, done, end, until)
            done = end
            if forked.everything and stretch.until >= parents:
                break
    if done < len(own.offsets) or done == 0:
        yield own.part(done, len(own.offsets), last)


class _Own:
    """The fork's own changes, in order."""

    def __init__(self, changes: Numbers, offsets: Numbers, now: Numbers, before: Numbers) -> None:
        self.changes = changes
        self.offsets = offsets
        self.now = now
        self.before = before

    def part(self, first: int, end: int, until: int) -> Stretch:
        return Stretch(
            until,
            self.changes[first:end],
            self.offsets[first:end],
            self.now[:, first:end],
            self.before[:, first:end],
        )


def _own(
    connection: duckdb.DuckDBPyConnection,
    forked: Forked,
    expression: Expression,
    drawn: Sequence[Drawn],
    kind: type[np.generic],
) -> _Own:
    history = forked.history
    states = part_projection.states(connection, history, [expression])
    names = [f"a{n}" for n in range(len(drawn))]
    made = "".join(
        f", CASE WHEN state IS NULL THEN 0 ELSE {one.value} END AS {name}"
        for name, one in zip(names, drawn, strict=True)
    )
    earlier = "".join(
        f", lag({name}, 1, 0) OVER (PARTITION BY bucket, key ORDER BY change) AS b{name}"
        for name in names
    )
    touched = "" if forked.everything else f" AND key IN ({forked.touched})"
    query = (
        f'SELECT * FROM (SELECT change, "offset"{"".join(f", {n}" for n in names)}{earlier}'
        f' FROM (SELECT change, "offset", bucket, key{made}'
        f' FROM (SELECT bucket, "offset", key, change, state{expression.values} FROM {states}'
        f" WHERE projection = ? AND timeline = ?{touched})))"
        f' WHERE "offset" >= {int(forked.since)} ORDER BY "offset", change'
    )
    table = arrow(connection, query, [history.folded.number, history.folded.timeline])
    columns: list[Any] = [table[name].to_numpy() for name in table.column_names]
    count = len(names)
    wholes = [one.whole for one in drawn] * 2
    rows = [whole(column).astype(kind) for whole, column in zip(wholes, columns[2:], strict=True)]
    shape = (count, table.num_rows)
    now = np.array(rows[:count], kind).reshape(shape)
    before = np.array(rows[count:], kind).reshape(shape)
    return _Own(columns[0], columns[1], now, before)


def _gone(forked: Forked) -> Numbers:
    """The numbers of the parent's changes that the fork has otherwise."""
    parent = forked.parent.folded
    if forked.everything:
        return np.empty(0, np.int64)
    with forked.parent.workspace.reading() as connection:
        table = arrow(
            connection,
            "SELECT change FROM history WHERE projection = ? AND timeline = ?"
            f' AND "offset" >= {int(forked.parents_since)} AND key IN ({forked.touched})',
            [parent.number, parent.timeline],
        )
    numbers: Numbers = table["change"].to_numpy()
    return numbers


def _merged(
    stretch: Stretch,
    kept: Numbers,
    offsets: Numbers,
    own: _Own,
    first: int,
    end: int,
    until: int,
) -> Stretch:
    both = np.concatenate([offsets[kept], own.offsets[first:end]])
    order = np.argsort(both, kind="stable")
    return Stretch(
        until,
        np.concatenate([stretch.changes[kept], own.changes[first:end]])[order],
        both[order],
        np.concatenate([stretch.now[:, kept], own.now[:, first:end]], axis=1)[:, order],
        np.concatenate([stretch.before[:, kept], own.before[:, first:end]], axis=1)[:, order],
    )
