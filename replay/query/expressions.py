"""Expressions that a person typed, such as conditions over `state`, `key` and `offset`, as SQL.

The caller's scope says which names an expression can use. `replay.query.sql_compiler` says what is
refused, and as which type a value is compared.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb

from replay.query.compiled_expression import CompiledExpression
from replay.query.scope import ExpressionScope, TermKind
from replay.query.sql_compiler import AGGREGATES, ExpressionCompiler
from storage.query import condition_parser

STATE_SCOPE = ExpressionScope({"state": "state"}, {"key": TermKind.TEXT, "offset": TermKind.NUMBER})
"""The names that a condition on a document can use."""


@dataclass(frozen=True)
class ParsedExpression:
    """An expression or condition that a person typed, parsed once and handed on."""

    text: str
    """The text as the person typed it."""
    tree: dict[str, Any]
    """DuckDB's syntax tree."""

    @cached_property
    def uses_aggregates(self) -> bool:
        """Whether it contains an aggregate over all documents."""
        return _calls_aggregate(self.tree)

    @property
    def negation(self) -> "ParsedExpression":
        """The condition that is true where this one is false."""
        node = {"class": "OPERATOR", "type": "OPERATOR_NOT", "alias": "", "children": [self.tree]}
        return ParsedExpression(self.text, node)


Expression = str | ParsedExpression
"""An expression as a person typed it, or parsed before."""


def parse_expression(
    connection: duckdb.DuckDBPyConnection, expression: Expression
) -> ParsedExpression:
    """Return an expression parsed; one that was parsed before is returned as it is.

    Raises `QueryError` if the text can't be parsed.
    """
    if isinstance(expression, ParsedExpression):
        return expression
    return ParsedExpression(
        expression, condition_parser.parse_condition(connection, expression, "states")
    )


def compile_condition(
    connection: duckdb.DuckDBPyConnection,
    condition: Expression,
    scope: ExpressionScope = STATE_SCOPE,
    *,
    long_numbers: bool = True,
) -> CompiledExpression:
    """Compile a condition to SQL. Raises `QueryError` if it is not a condition.

    Pass `long_numbers=False` if every number in the states fits into a double, as it does for plain
    Python floats. The query then takes a third of the time, because it doesn't look for longer ones.
    """
    parsed = parse_expression(connection, condition)
    compiler = ExpressionCompiler(parsed.text, scope, long_numbers)
    return compiler.finish(compiler.compile_truth(parsed.tree))


def compile_value(
    connection: duckdb.DuckDBPyConnection,
    expression: Expression,
    scope: ExpressionScope = STATE_SCOPE,
    *,
    long_numbers: bool = True,
) -> CompiledExpression:
    """Compile an expression to SQL that returns its value as JSON text, or NULL if it has none.

    Raises `QueryError` if it is not an expression.
    """
    parsed = parse_expression(connection, expression)
    compiler = ExpressionCompiler(parsed.text, scope, long_numbers, role="expression")
    return compiler.finish(compiler.compile_json(parsed.tree))


def _calls_aggregate(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("class") == "FUNCTION" and node.get("function_name") in AGGREGATES:
            return True
        return any(_calls_aggregate(part) for part in node.values())
    return isinstance(node, list) and any(map(_calls_aggregate, node))
