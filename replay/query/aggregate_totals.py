"""Aggregates over all documents at one position, such as `sum(state.total)`, and over what differs.

Sums are exact to twelve digits behind the point. What an edit changes is added to what there was:
nobody adds up a million documents again for each of a thousand forks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from replay.history.history import History
from replay.query import aggregates, part_projection
from replay.query.sum_encoding import InFull, InMillionths, Notation
from storage.db.query import arrow
from storage.query.condition_parser import unanswerable

Sums = tuple[int, ...]
"""Of whole numbers; see `replay.query.sum_encoding`."""

_CHANGED = pa.schema(
    [
        ("trial", pa.int64()),
        ("sign", pa.int64()),
        ("key", pa.string()),
        ("offset", pa.int64()),
        ("state", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Changed:
    """A state that a document has in one of many trials, or no longer has."""

    trial: int
    sign: int
    """1: it has it; -1: it has it no longer."""
    key: str
    offset: int
    state: str | None


class Totals:
    """Aggregates that were asked for, over the documents of one history at a position."""

    def __init__(self, history: History, texts: Sequence[str], at: int) -> None:
        """Raises `QueryError` where a text is no aggregate, or can't be answered."""
        self.texts = texts
        self._of = [_Total(history, text, at) for text in texts]
        self.values = [total.value(total.sums) for total in self._of]
        """The aggregates of the history itself, in their order; None where there is none."""

    def changed(self, rows: Sequence[Changed], trials: int) -> list[list[float | None]]:
        """The aggregates of each of so many trials."""
        columns = {f.name: [getattr(row, f.name) for row in rows] for f in _CHANGED}
        table = pa.table(columns, schema=_CHANGED)
        by_total = [total.changed(table, trials) for total in self._of]
        return [list(values) for values in zip(*by_total, strict=True)]


class _Total:
    """One aggregate over the documents of a history at a position."""

    def __init__(self, history: History, text: str, at: int) -> None:
        self._history = history
        self._at = at
        self._notation: Notation = InFull() if history.long_numbers else InMillionths()
        with history.workspace.reading() as connection:
            self._wanted = aggregates.value(connection, text, long_numbers=history.long_numbers)
            self._states = part_projection.states(connection, history, [self._wanted.row])
        self.sums = self._there()

    def changed(self, table: pa.Table, trials: int) -> list[float | None]:
        try:
            with self._history.workspace.reading() as connection:
                connection.register("changed_states", table)
                steps = self._asked(connection, "FROM changed_states", [])
        except _UNFIT:
            if isinstance(self._notation, InFull):
                raise
            self._notation = InFull()  # a number doesn't fit after all
            self.sums = self._there()
            return self.changed(table, trials)
        nothing = (0,) * len(self.sums)
        return [
            self.value([a + b for a, b in zip(self.sums, steps.get(n, nothing), strict=True)])
            for n in range(trials)
        ]

    def value(self, sums: Sequence[int]) -> float | None:
        """What is asked for, made of the sums."""
        made, names = [], iter(f"CAST({number} AS HUGEINT)" for number in sums)
        for n, (part, double) in enumerate(self._wanted.parts.items()):
            own = [next(names) for _ in self._apart(part, double)]
            made.append(f"{self._notation.together(own) if double else own[0]} AS r{n}")
        query = f'SELECT {self._wanted.sql} AS v FROM (SELECT {int(self._at)} AS "offset", {", ".join(made)})'
        with self._history.workspace.reading() as connection:
            found: float | None = arrow(connection, query)["v"][0].as_py()
        return found

    def _there(self) -> Sums:
        """The sums over all documents at the position."""
        mine = [self._history.folded.number, self._history.folded.timeline, self._at]
        where = 'projection = ? AND timeline = ? AND "offset" <= ?'
        last = (
            f'SELECT 0 AS trial, 1 AS sign, key, "offset", state FROM {self._states} SEMI JOIN'
            f" (SELECT max(change) AS change FROM history WHERE {where} GROUP BY bucket, key)"
            f" USING (change) WHERE {where}"
        )
        with self._history.workspace.reading() as connection:
            try:
                rows = self._asked(connection, last, [*mine, *mine])
            except _UNFIT as error:
                if isinstance(self._notation, InFull):
                    raise unanswerable(self._wanted.text, "all documents", error) from error
                self._notation = InFull()
                return self._there()
        return rows.get(
            0, (0,) * sum(len(self._apart(*part)) for part in self._wanted.parts.items())
        )

    def _asked(
        self, connection: duckdb.DuckDBPyConnection, rows: str, parameters: list[Any]
    ) -> dict[int, Sums]:
        numbers = [n for part in self._wanted.parts.items() for n in self._apart(*part)]
        sums = ", ".join(f"coalesce(sum(sign * {n}), 0)" for n in numbers)
        query = (
            f"SELECT trial, {sums} FROM (SELECT trial, sign{self._wanted.row.values} FROM"
            f" ({rows}) WHERE state IS NOT NULL) GROUP BY trial"
        )
        found = connection.execute(query, parameters).fetchall()
        return {trial: tuple(map(int, made)) for trial, *made in found}

    def _apart(self, part: str, double: str | None) -> list[str]:
        """What one state adds to a sum."""
        return self._notation.apart(part, double) if double else [f"CAST({part} AS BIGINT)"]


_UNFIT = (duckdb.DataError, duckdb.ProgrammingError)


def asked(history: History, texts: Sequence[str], at: int) -> list[float | None]:
    """Aggregates over all documents at a position; raises `QueryError`."""
    return Totals(history, texts, at).values
