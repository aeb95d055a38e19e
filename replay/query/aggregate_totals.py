"""Aggregates over all documents at one position, such as `sum(state.total)`, also for many trials.

Sums are exact to twelve digits after the decimal point. A trial, such as one fork of a sweep, adds
only its changed states to the sums of the history, because adding up a million documents for each
of a thousand forks would take too long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from replay.history.history import History
from replay.query import aggregates, part_projection
from replay.query.sum_encoding import FullPrecisionEncoding, MillionthsEncoding, SumEncoding
from storage.db.query import fetch_arrow
from storage.query.condition_parser import translate_condition_error

IntegerSums = tuple[int, ...]
"""Sums in a `SumEncoding`; see `replay.query.sum_encoding`."""

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
    """A state that a document gains or loses in one trial."""

    trial: int
    """Index of the trial."""
    sign: int
    """1: the document has this state in the trial; -1: it no longer has it."""
    key: str
    offset: int
    state: str | None


class AggregateTotals:
    """Several aggregates over all documents of one history at a position."""

    def __init__(self, history: History, texts: Sequence[str], position: int) -> None:
        """Compute the aggregates.

        Raises `QueryError` if a text is not an aggregate, or if it can't be evaluated.
        """
        self.texts = texts
        self._totals = [_AggregateTotal(history, text, position) for text in texts]
        self.values = [total.evaluate(total.sums) for total in self._totals]
        """The aggregates of the history itself, in the order of `texts`; None if one has no value."""

    def compute_trial_totals(
        self, rows: Sequence[TrialStateChange], trial_count: int
    ) -> list[list[float | None]]:
        """Return the aggregates of each trial, in the order of `texts`."""
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
            history, [self._aggregate.row_expression]
        )
        self.sums = self._sum_all_documents()

    def compute_trial_totals(self, table: pa.Table, trial_count: int) -> list[float | None]:
        try:
            with self._history.workspace.reading() as connection:
                connection.register("changed_states", table)
                steps = self._sum_rows(connection, "FROM changed_states")
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
        """Return the aggregate's value from its sums."""
        sum_columns, names = [], iter(f"CAST({number} AS HUGEINT)" for number in sums)
        for n, (part, double) in enumerate(self._aggregate.summands.items()):
            own = [next(names) for _ in self._split_sql(part, double)]
            sum_columns.append(f"{self._sum_encoding.join_sql(own) if double else own[0]} AS r{n}")
        query = (
            f"SELECT {self._aggregate.result_sql} AS v FROM (SELECT {int(self._position)} AS"
            f' "offset", {", ".join(sum_columns)})'
        )
        with self._history.workspace.reading() as connection:
            value: float | None = fetch_arrow(connection, query)["v"][0].as_py()
        return value

    def _sum_all_documents(self) -> IntegerSums:
        """Return the sums over all documents at the position."""
        where = f'{self._history.scope.condition} AND "offset" <= {int(self._position)}'
        last = (
            f'SELECT 0 AS trial, 1 AS sign, key, "offset", state FROM {self._states} SEMI JOIN'
            f" (SELECT max(change) AS change FROM history WHERE {where} GROUP BY bucket, key)"
            f" USING (change) WHERE {where}"
        )
        with self._history.workspace.reading() as connection:
            try:
                rows = self._sum_rows(connection, last)
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

    def _sum_rows(self, connection: duckdb.DuckDBPyConnection, rows: str) -> dict[int, IntegerSums]:
        numbers = [n for part in self._aggregate.summands.items() for n in self._split_sql(*part)]
        sums = ", ".join(f"coalesce(sum(sign * {n}), 0)" for n in numbers)
        query = (
            f"SELECT trial, {sums} FROM (SELECT trial, sign{self._aggregate.row_expression.columns_sql} FROM"
            f" ({rows}) WHERE state IS NOT NULL) GROUP BY trial"
        )
        found = connection.execute(query).fetchall()
        return {trial: tuple(map(int, trial_sums)) for trial, *trial_sums in found}

    def _split_sql(self, part: str, double: str | None) -> list[str]:
        """Return SQL for the whole numbers that one state adds to a sum."""
        return self._sum_encoding.split_sql(part, double) if double else [f"CAST({part} AS BIGINT)"]


_CONVERSION_ERRORS = (duckdb.DataError, duckdb.ProgrammingError)


def compute_totals(history: History, texts: Sequence[str], position: int) -> list[float | None]:
    """Return aggregates over all documents at a position; None if one has no value.

    Raises `QueryError` if a text is not an aggregate, or if it can't be evaluated.
    """
    return AggregateTotals(history, texts, position).values
