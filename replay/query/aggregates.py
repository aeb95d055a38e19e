"""Expressions with sum, avg and count over all documents, such as `sum(state.balance) = 0`, as SQL.

They are taken apart into what one state adds to a sum, and what is made of the sums; these run
along with the log in `replay.query.running_aggregates`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from replay.query.expressions import STATE_SCOPE
from replay.query.scope import ExpressionScope, TermKind
from replay.query.sql_compiler import AGGREGATES, CompiledExpression, ExpressionCompiler
from storage.errors import QueryError
from storage.query import condition_parser

_RESULT_SCOPE = ExpressionScope({}, {"offset": TermKind.NUMBER})


@dataclass(frozen=True)
class CompiledAggregate:
    """An expression over aggregates."""

    text: str
    row_expression: CompiledExpression
    """Its values of one state, and whether these are of another kind than a number."""
    summands: Mapping[str, str | None]
    """What one state adds to each running sum, as SQL over the row's values; and for a number of
    any size the column that holds it as a double, else it is 0 or 1."""
    result_sql: str
    """What is asked for, over the columns `offset` and `r0`, `r1` … of running sums."""


def uses_aggregates(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether an expression asks for an aggregate over all documents; raises `QueryError`."""
    return _calls_aggregate(condition_parser.parse_condition(connection, text, "states"))


def compile_aggregate_condition(
    connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool
) -> CompiledAggregate:
    """A condition over aggregates; raises `QueryError` for what isn't one."""
    compiler = _AggregateCompiler(text, long_numbers, "condition")
    tree = condition_parser.parse_condition(connection, text, "states")
    return compiler.finish(compiler.result_compiler.compile_truth(tree))


def compile_aggregate_value(
    connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool
) -> CompiledAggregate:
    """A number made of aggregates, as a double; raises `QueryError` for what isn't one."""
    compiler = _AggregateCompiler(text, long_numbers, "expression")
    tree = condition_parser.parse_condition(connection, text, "states")
    return compiler.finish(
        f"CAST({compiler.result_compiler.compile_value(tree, TermKind.NUMBER)} AS DOUBLE)"
    )


@dataclass
class _AggregateCompiler:
    text: str
    long_numbers: bool
    role: str
    summands: dict[str, str | None] = field(default_factory=dict)
    """See `Aggregated.parts`."""

    def __post_init__(self) -> None:
        self.row_compiler = ExpressionCompiler(self.text, STATE_SCOPE, self.long_numbers, self.role)
        self.result_compiler = ExpressionCompiler(
            self.text, _RESULT_SCOPE, self.long_numbers, self.role, self._compile_aggregate
        )

    def finish(self, sql: str) -> CompiledAggregate:
        if not self.summands:
            raise QueryError(
                f"The {self.role} {self.text!r} asks for no aggregate; there are"
                " sum(…), avg(…) and count(…)."
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
        """Whether a state is counted: `count(state.paid)` and `count(state.paid > 0)`."""
        if self.row_compiler.term_kind(node) is TermKind.VALUE:
            return self.row_compiler.compile_is_null(node, absent=False)
        return self.row_compiler.compile_truth(node)

    def _sum_column(self, part: str, double: str | None = None) -> str:
        self.summands.setdefault(part, double)
        return f"r{list(self.summands).index(part)}"


def _calls_aggregate(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("class") == "FUNCTION" and node.get("function_name") in AGGREGATES:
            return True
        return any(_calls_aggregate(part) for part in node.values())
    return isinstance(node, list) and any(map(_calls_aggregate, node))
