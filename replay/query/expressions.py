"""Expressions that a person typed, such as conditions over `state`, `key` and `offset`, as SQL.

What may be named is the asker's to say; what is refused, and what a value is compared as, is said
in `replay.query.sql_compiler`.
"""

import duckdb

from replay.query.scope import ExpressionScope, TermKind
from replay.query.sql_compiler import CompiledExpression, ExpressionCompiler
from storage.query import condition_parser

STATE_SCOPE = ExpressionScope({"state": "state"}, {"key": TermKind.TEXT, "offset": TermKind.NUMBER})
"""What a condition on a document may name."""


def compile_condition(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    scope: ExpressionScope = STATE_SCOPE,
    *,
    long_numbers: bool = True,
) -> CompiledExpression:
    """A condition as SQL; raises `QueryError`, in one sentence, for what isn't one.

    States of plain Python floats hold no numbers that a double doesn't; without `long_numbers`
    nobody looks for such, which takes a third of the time.
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
    """Any expression, as SQL that gives its value as JSON text, NULL where there is none.

    Raises `QueryError`, in one sentence, for what isn't one.
    """
    compiler = ExpressionCompiler(text, scope, long_numbers, role="expression")
    return compiler.finish(
        compiler.compile_json(condition_parser.parse_condition(connection, text, "states"))
    )
