"""Expressions that a person typed, such as conditions over `state`, `key` and `offset`, as SQL.

The caller's scope says which names an expression can use. `replay.query.sql_compiler` says what is
refused, and as which type a value is compared.
"""

import duckdb

from replay.query.scope import ExpressionScope, TermKind
from replay.query.sql_compiler import CompiledExpression, ExpressionCompiler
from storage.query import condition_parser

STATE_SCOPE = ExpressionScope({"state": "state"}, {"key": TermKind.TEXT, "offset": TermKind.NUMBER})
"""The names that a condition on a document can use."""


def compile_condition(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    scope: ExpressionScope = STATE_SCOPE,
    *,
    long_numbers: bool = True,
) -> CompiledExpression:
    """Compile a condition to SQL. Raises `QueryError` if the text is not a condition.

    Pass `long_numbers=False` if every number in the states fits into a double, as it does for plain
    Python floats. The query then takes a third of the time, because it doesn't look for longer ones.
    """
    compiler = ExpressionCompiler(text, scope, long_numbers)
    return compiler.finish(
        compiler.compile_truth(condition_parser.parse_condition(connection, text, "states"))
    )


def compile_value(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    scope: ExpressionScope = STATE_SCOPE,
    *,
    long_numbers: bool = True,
) -> CompiledExpression:
    """Compile an expression to SQL that returns its value as JSON text, or NULL if it has none.

    Raises `QueryError` if the text is not an expression.
    """
    compiler = ExpressionCompiler(text, scope, long_numbers, role="expression")
    return compiler.finish(
        compiler.compile_json(condition_parser.parse_condition(connection, text, "states"))
    )
