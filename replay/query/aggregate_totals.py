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
from replay.query.sum_encoding import FullPrecisionEncoding, MillionthsEncoding, SumEncoding
from storage.db.query import fetch_arrow
from storage.query.condition_parser import translate_condition_error

IntegerSums = tuple[int, ...]
"""Of whole numbers; see `replay.query.sum_encoding`."""

_CHANGE_SCHEMA = pa.schema(
    [
        ("trial", pa.int64()),
        ("sign", pa.int64()),
        ("key", pa.string()),
        ("offset", pa.int64()),
        ("state", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class TrialStateChange:
    """A state that a document has in one of many trials, or no longer has."""

    trial: int
    sign: int
    """1: it has it; -1: it has it no longer."""
    key: str
    offset: int
    state: str | None


class AggregateTotals:
    """Aggregates that were asked for, over the documents of one history at a position."""

    def __init__(self, history: History, texts: Sequence[str], position: int) -> None:
        """Raises `QueryError` where a text is no aggregate, or can't be answered."""
        self.texts = texts
        self._totals = [_AggregateTotal(history, text, position) for text in texts]
        self.values = [total.evaluate(total.sums) for total in self._totals]
        """The aggregates of the history itself, in their order; None where there is none."""

    def compute_trial_totals(
        self, rows: Sequence[TrialStateChange], trial_count: int
    ) -> list[list[float | None]]:
        """The aggregates of each of so many trials."""
        columns = {f.name: [getattr(row, f.name) for row in rows] for f in _CHANGE_SCHEMA}
        table = pa.table(columns, schema=_CHANGE_SCHEMA)
        by_total = [total.compute_trial_totals(table, trial_count) for total in self._totals]
        return [list(values) for values in zip(*by_total, strict=True)]


class _AggregateTotal:
    """One aggregate over the documents of a history at a position."""

    def __init__(self, history: History, text: str, position: int) -> None:
        self._history = history
        self._position = position
        self._sum_encoding: SumEncoding = (
            FullPrecisionEncoding() if history.has_long_numbers else MillionthsEncoding()
        )
        with history.workspace.reading() as connection:
            self._aggregate = aggregates.compile_aggregate_value(
                connection, text, long_numbers=history.has_long_numbers
            )
            self._states = part_projection.states_with_parts_sql(
                connection, history, [self._aggregate.row_expression]
            )
        self.sums = self._sum_all_documents()

    def compute_trial_totals(self, table: pa.Table, trial_count: int) -> list[float | None]:
        try:
            with self._history.workspace.reading() as connection:
                connection.register("changed_states", table)
                steps = self._sum_rows(connection, "FROM changed_states", [])
        except _CONVERSION_ERRORS:
            if isinstance(self._sum_encoding, FullPrecisionEncoding):
                raise
            self._sum_encoding = FullPrecisionEncoding()  # a number doesn't fit after all
            self.sums = self._sum_all_documents()
            return self.compute_trial_totals(table, trial_count)
        nothing = (0,) * len(self.sums)
        return [
            self.evaluate([a + b for a, b in zip(self.sums, steps.get(n, nothing), strict=True)])
            for n in range(trial_count)
        ]

    def evaluate(self, sums: Sequence[int]) -> float | None:
        """What is asked for, made of the sums."""
        sum_columns, names = [], iter(f"CAST({number} AS HUGEINT)" for number in sums)
        for n, (part, double) in enumerate(self._aggregate.summands.items()):
            own = [next(names) for _ in self._split_sql(part, double)]
            sum_columns.append(f"{self._sum_encoding.join_sql(own) if double else own[0]} AS r{n}")
        query = (
            f"SELECT {self._aggregate.result_sql} AS v FROM (SELECT {int(self._position)} AS"
            f' "offset", {", ".join(sum_columns)})'
        )
        with self._history.workspace.reading() as connection:
            found: float | None = fetch_arrow(connection, query)["v"][0].as_py()
        return found

    def _sum_all_documents(self) -> IntegerSums:
        """The sums over all documents at the position."""
        mine = [
            self._history.fold_record.projection_number,
            self._history.fold_record.timeline,
            self._position,
        ]
        where = 'projection = ? AND timeline = ? AND "offset" <= ?'
        last = (
            f'SELECT 0 AS trial, 1 AS sign, key, "offset", state FROM {self._states} SEMI JOIN'
            f" (SELECT max(change) AS change FROM history WHERE {where} GROUP BY bucket, key)"
            f" USING (change) WHERE {where}"
        )
        with self._history.workspace.reading() as connection:
            try:
                rows = self._sum_rows(connection, last, [*mine, *mine])
            except _CONVERSION_ERRORS as error:
                if isinstance(self._sum_encoding, FullPrecisionEncoding):
                    raise translate_condition_error(
                        self._aggregate.text, "all documents", error
                    ) from error
                self._sum_encoding = FullPrecisionEncoding()
                return self._sum_all_documents()
        return rows.get(
            0, (0,) * sum(len(self._split_sql(*part)) for part in self._aggregate.summands.items())
        )

    def _sum_rows(
        self, connection: duckdb.DuckDBPyConnection, rows: str, parameters: list[Any]
    ) -> dict[int, IntegerSums]:
        numbers = [n for part in self._aggregate.summands.items() for n in self._split_sql(*part)]
        sums = ", ".join(f"coalesce(sum(sign * {n}), 0)" for n in numbers)
        query = (
            f"SELECT trial, {sums} FROM (SELECT trial, sign{self._aggregate.row_expression.columns_sql} FROM"
            f" ({rows}) WHERE state IS NOT NULL) GROUP BY trial"
        )
        found = connection.execute(query, parameters).fetchall()
        return {trial: tuple(map(int, made)) for trial, *made in found}

    def _split_sql(self, part: str, double: str | None) -> list[str]:
        """What one state adds to a sum."""
        return self._sum_encoding.split_sql(part, double) if double else [f"CAST({part} AS BIGINT)"]


_CONVERSION_ERRORS = (duckdb.DataError, duckdb.ProgrammingError)


def compute_totals(history: History, texts: Sequence[str], position: int) -> list[float | None]:
    """Aggregates over all documents at a position; raises `QueryError`."""
    return AggregateTotals(history, texts, position).values
