"""Aggregates over all documents as they stood after every event, running along with the log.

A change of a document changes a sum by what its value became minus what it was. Sums are whole
numbers of a smallest unit, so they are exact however long the log is. A document that isn't there
adds nothing, and so does one whose value is no number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from replay.history.history import History
from replay.query import aggregates
from replay.query.aggregates import Aggregated
from replay.query.scan import scan_history
from replay.query.scan_types import Drawn, Numbers
from replay.query.sum_encoding import InFull, InMillionths, NoRoomError, Notation
from storage.db.query import arrow
from storage.query.condition_parser import unanswerable


@dataclass(frozen=True)
class Running:
    """What an expression was after each event of a stretch of the log that changed any sum in it."""

    until: int
    """The stretch's last offset."""
    offsets: Numbers
    values: Numbers


@dataclass(frozen=True)
class Turns:
    """Where a condition turned in one stretch of the log."""

    until: int
    """The stretch's last offset."""
    rows: Sequence[tuple[int, bool]]
    """An event, and whether it became true with it or stopped being so."""


def turns(history: History, text: str) -> Iterator[Turns]:
    """Where a condition over aggregates turned, a stretch of the log at a time; scans.

    Before the first event it counts as false. Raises `QueryError` where it is no such condition, or
    can't be answered.
    """
    held = False
    with history.workspace.reading() as connection:
        wanted = aggregates.condition(connection, text, long_numbers=history.long_numbers)
        for stretch in values(connection, history, wanted):
            holds = stretch.values
            places = np.flatnonzero(np.diff(holds, prepend=held))
            offsets = stretch.offsets[places].tolist()
            yield Turns(stretch.until, list(zip(offsets, holds[places].tolist(), strict=True)))
            held = bool(holds[-1]) if len(holds) else held


def values(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    wanted: Aggregated,
    *,
    soon: bool = True,
) -> Iterator[Running]:
    """What an expression was after every event, a stretch of the log at a time; scans.

    The first comes `soon`, for somebody who waits for it.

    Raises `QueryError` where it can't be answered, and where no state ever held what it names.
    """
    done = -1
    if not history.long_numbers:
        try:
            for stretch in _through(connection, history, wanted, InMillionths(), soon=soon):
                yield stretch
                done = stretch.until
        except (duckdb.DataError, duckdb.ProgrammingError, NoRoomError):
            pass  # a number doesn't fit after all: from there on all are added in full
        else:
            return
    try:
        for stretch in _through(connection, history, wanted, InFull(), soon=soon):
            if stretch.until > done:
                new = stretch.offsets > done
                yield Running(stretch.until, stretch.offsets[new], stretch.values[new])
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise unanswerable(wanted.text, "all documents", error) from error


def _through(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    wanted: Aggregated,
    notation: Notation,
    *,
    soon: bool,
) -> Iterator[Running]:
    columns: list[Drawn] = []
    made = []
    for n, (part, double) in enumerate(wanted.parts.items()):
        there = notation.drawn(part, double) if double else [Drawn(part)]
        names = [f"s{len(columns) + i}" for i in range(len(there))]
        made.append(f"{notation.together(names) if double else names[0]} AS r{n}")
        columns += there
    query = f'SELECT {wanted.sql} AS v FROM (SELECT "offset", {", ".join(made)} FROM running)'
    carried = np.zeros((len(columns), 1), np.int64)
    begun = False
    for stretch in scan_history(connection, history, wanted.row, columns, np.int64, soon=soon):
        offsets, steps = stretch.offsets, stretch.now - stretch.before
        if history.routed:
            # An event may change several documents; what counts is what was after all of them.
            events = np.flatnonzero(np.diff(offsets, prepend=-1))
            notation.refuse(carried + np.cumsum(steps, axis=1))
            offsets, steps = offsets[events], np.add.reduceat(steps, events, axis=1)
        # Most events leave most sums as they are; only the first counts without having changed any.
        counts: Numbers = steps[0] != 0
        for further in steps[1:]:
            counts |= further != 0
        counts[:1] |= not begun
        begun = begun or len(counts) > 0
        offsets, sums = offsets[counts], carried + np.cumsum(steps[:, counts], axis=1)
        notation.refuse(sums)
        carried = sums[:, -1:] if len(offsets) else carried
        columns_of = {f"s{n}": column for n, column in enumerate(sums)}
        connection.register("running", pa.table({"offset": offsets, **columns_of}))
        found = arrow(connection, query)["v"].to_numpy()
        connection.unregister("running")
        yield Running(stretch.until, offsets, found)
