"""Expressions with sum, avg and count over all documents, such as `sum(state.balance) = 0`, as SQL.

They are taken apart into what one state adds to a sum, and what is made of the sums; these run
along with the log in `replay.query.running_aggregates`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from replay.query.expressions import OF_STATES
from replay.query.scope import Kind, Names
from replay.query.sql_compiler import AGGREGATES, Expression, Rewriting
from storage.errors import QueryError
from storage.query import condition_parser

_OUTSIDE = Names({}, {"offset": Kind.NUMBER})


@dataclass(frozen=True)
class Aggregated:
    """An expression over aggregates."""

    text: str
    row: Expression
    """Its values of one state, and whether these are of another kind than a number."""
    parts: Mapping[str, str | None]
    """What one state adds to each running sum, as SQL over the row's values; and for a number of
    any size the column that holds it as a double, else it is 0 or 1."""
    sql: str
    """What is asked for, over the columns `offset` and `r0`, `r1` … of running sums."""


def is_aggregated(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether an expression asks for an aggregate over all documents; raises `QueryError`."""
    return _calls_one(condition_parser.parsed(connection, text, "states"))


def condition(
    connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool
) -> Aggregated:
    """A condition over aggregates; raises `QueryError` for what isn't one."""
    building = _Building(text, long_numbers, "condition")
    tree = condition_parser.parsed(connection, text, "states")
    return building.finished(building.outside.truth(tree))


def value(connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool) -> Aggregated:
    """A number made of aggregates, as a double; raises `QueryError` for what isn't one."""
    building = _Building(text, long_numbers, "expression")
    tree = condition_parser.parsed(connection, text, "states")
    return building.finished(f"CAST({building.outside.value(tree, Kind.NUMBER)} AS DOUBLE)")


@dataclass
class _Building:
    text: str
    long_numbers: bool
    what: str
    parts: dict[str, str | None] = field(default_factory=dict)
    """See `Aggregated.parts`."""

    def __post_init__(self) -> None:
        self.inside = Rewriting(self.text, OF_STATES, self.long_numbers, self.what)
        self.outside = Rewriting(self.text, _OUTSIDE, self.long_numbers, self.what, self._aggregate)

    def finished(self, sql: str) -> Aggregated:
        if not self.parts:
            raise QueryError(
                f"The {self.what} {self.text!r} asks for no aggregate; there are"
                " sum(…), avg(…) and count(…)."
            )
        return Aggregated(self.text, self.inside.finished("true"), self.parts, sql)

    def _aggregate(self, name: str, arguments: Sequence[dict[str, Any]]) -> str:
        if name == "count_star" or not arguments:
            return self._column("1")
        if name == "count":
            return self._column(f"CAST({self._there(arguments[0])} AS INTEGER)")
        number = self.inside.digits(arguments[0])
        double = self.inside.double(number)
        total = self._column(number, double)
        if name == "sum":
            return total
        count = self._column(f"CAST({double} IS NOT NULL AS INTEGER)")
        return f"(CAST({total} AS DOUBLE) / nullif({count}, 0))"

    def _there(self, node: dict[str, Any]) -> str:
        """Whether a state is counted: `count(state.paid)` and `count(state.paid > 0)`."""
        if self.inside.kind(node) is Kind.VALUE:
            return self.inside.is_null(node, absent=False)
        return self.inside.truth(node)

    def _column(self, part: str, double: str | None = None) -> str:
        self.parts.setdefault(part, double)
        return f"r{list(self.parts).index(part)}"


def _calls_one(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("class") == "FUNCTION" and node.get("function_name") in AGGREGATES:
            return True
        return any(_calls_one(part) for part in node.values())
    return isinstance(node, list) and any(map(_calls_one, node))
