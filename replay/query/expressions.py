"""Expressions that a person typed, such as conditions over `state`, `key` and `offset`, as SQL.

What may be named is the asker's to say; what is refused, and what a value is compared as, is said
in `replay.query.sql_compiler`.
"""

import duckdb

from replay.query.scope import Kind, Names
from replay.query.sql_compiler import Expression, Rewriting
from storage.query import condition_parser

OF_STATES = Names({"state": "state"}, {"key": Kind.TEXT, "offset": Kind.NUMBER})
"""What a condition on a document may name."""


def condition(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    names: Names = OF_STATES,
    *,
    long_numbers: bool = True,
) -> Expression:
    """A condition as SQL; raises `QueryError`, in one sentence, for what isn't one.

    States of plain Python floats hold no numbers that a double doesn't; without `long_numbers`
    nobody looks for such, which takes a third of the time.
    """
    rewriting = Rewriting(text, names, long_numbers)
    return rewriting.finished(rewriting.truth(condition_parser.parsed(connection, text, "states")))


def value(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    names: Names = OF_STATES,
    *,
    long_numbers: bool = True,
) -> Expression:
    """Any expression, as SQL that gives its value as JSON text, NULL where there is none.

    Raises `QueryError`, in one sentence, for what isn't one.
    """
    rewriting = Rewriting(text, names, long_numbers, what="expression")
    return rewriting.finished(rewriting.json(condition_parser.parsed(connection, text, "states")))
