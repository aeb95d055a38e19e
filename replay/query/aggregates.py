"""Expressions with sum, avg and count over all documents, such as `sum(state.balance) = 0`, as SQL.

Each expression is split into the summands of one state and a result over the sums.
`replay.query.running_aggregates` updates the sums along the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from replay.query.compiled_expression import CompiledExpression
from replay.query.expressions import STATE_SCOPE, Expression, parse_expression
from replay.query.scope import ExpressionScope, TermKind
from replay.query.sql_compiler import ExpressionCompiler
from storage.errors import QueryError

_RESULT_SCOPE = ExpressionScope({}, {"offset": TermKind.NUMBER})


@dataclass(frozen=True)
class CompiledAggregate:
    """An expression over aggregates."""

    text: str
    row_expression: CompiledExpression
    """The values that it reads from one state, and whether one of them is not a number."""
    summands: Mapping[str, str | None]
    """What one state adds to each running sum, as SQL over the row's values. The value is the column
    that holds the number as a double; None for a summand that is 0 or 1."""
    result_sql: str
    """The result, over the columns `offset` and `r0`, `r1` … of running sums."""


def compile_aggregate_condition(
    connection: duckdb.DuckDBPyConnection, condition: Expression, *, long_numbers: bool
) -> CompiledAggregate:
    """Compile a condition over aggregates. Raises `QueryError` if it is not one."""
    parsed = parse_expression(connection, condition)
    compiler = _AggregateCompiler(parsed.text, long_numbers, "condition")
    return compiler.finish(compiler.result_compiler.compile_truth(parsed.tree))


def compile_aggregate_value(
    connection: duckdb.DuckDBPyConnection, expression: Expression, *, long_numbers: bool
) -> CompiledAggregate:
    """Compile a number made of aggregates, as a double. Raises `QueryError` if it is not one."""
    parsed = parse_expression(connection, expression)
    compiler = _AggregateCompiler(parsed.text, long_numbers, "expression")
    number = compiler.result_compiler.compile_value(parsed.tree, TermKind.NUMBER)
    return compiler.finish(f"CAST({number} AS DOUBLE)")


@dataclass
class _AggregateCompiler:
    text: str
    long_numbers: bool
    role: str
    summands: dict[str, str | None] = field(default_factory=dict)
    """See `CompiledAggregate.summands`."""

    def __post_init__(self) -> None:
        self.row_compiler = ExpressionCompiler(self.text, STATE_SCOPE, self.long_numbers, self.role)
        self.result_compiler = ExpressionCompiler(
            self.text, _RESULT_SCOPE, self.long_numbers, self.role, self._compile_aggregate
        )

    def finish(self, sql: str) -> CompiledAggregate:
        if not self.summands:
            raise QueryError(
                f"The {self.role} {self.text!r} contains no aggregate. Use"
                " sum(…), avg(…) or count(…)."
            )
        return CompiledAggregate(self.text, self.row_compiler.finish("true"), self.summands, sql)

    def _compile_aggregate(self, name: str, arguments: Sequence[dict[str, Any]]) -> str:
        if name == "count_star" or not arguments:
            return self._sum_column("1")
        if name == "count":
            return self._sum_column(f"CAST({self._counts_sql(arguments[0])} AS INTEGER)")
        number = self.row_compiler.compile_digits(arguments[0])
        double = self.row_compiler.compile_double(number)
        total = self._sum_column(number, double)
        if name == "sum":
            return total
        count = self._sum_column(f"CAST({double} IS NOT NULL AS INTEGER)")
        return f"(CAST({total} AS DOUBLE) / nullif({count}, 0))"

    def _counts_sql(self, node: dict[str, Any]) -> str:
        """Return SQL for whether a state is counted: `count(state.paid)` counts the states that have
        the value, `count(state.paid > 0)` those for which the condition holds."""
        if self.row_compiler.term_kind(node) is TermKind.VALUE:
            return self.row_compiler.compile_is_null(node, absent=False)
        return self.row_compiler.compile_truth(node)

    def _sum_column(self, part: str, double: str | None = None) -> str:
        self.summands.setdefault(part, double)
        return f"r{list(self.summands).index(part)}"
