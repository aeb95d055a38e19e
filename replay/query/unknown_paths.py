"""Paths that an expression names and no state ever had, most often because of a typo.

Asking for them is allowed, so they are a hint beside the answer and not an error.
"""

import duckdb

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.history.history import History
from replay.query import aggregates, part_projection
from replay.query.expressions import (
    STATE_SCOPE,
    Expression,
    ParsedExpression,
    parse_expression,
)
from replay.query.scope import list_column_paths
from storage.errors import QueryError


def describe_unknown_paths(history: History, expression: Expression) -> str:
    """Return one sentence that names unknown paths, or an aggregate for which no state ever had a
    number; "" if there is neither.

    Scans the history only for paths without any value. Raises `QueryError` if the text is not an
    expression.
    """
    with history.workspace.reading() as connection:
        parsed = parse_expression(connection, expression)
        missing = [
            path
            for _, path in list_column_paths(parsed.tree, STATE_SCOPE)
            if not _is_path_known(history, path)
        ]
        if not missing and parsed.uses_aggregates:
            return _describe_missing_numbers(connection, history, parsed)
    if not missing:
        return ""
    names = " or ".join(paths.format_as_expression("state", path) for path in missing)
    return f"No state ever had a value at {names}."


def _is_path_known(history: History, path: DocumentPath) -> bool:
    # The root is NULL only in states of deleted documents.
    return history.history_rows.has_value(
        paths.format_pointer(path)
    ) or part_projection.has_value_in_parts(history, path)


def _describe_missing_numbers(
    connection: duckdb.DuckDBPyConnection, history: History, parsed: ParsedExpression
) -> str:
    options = {"long_numbers": history.has_long_numbers}
    try:
        aggregate = aggregates.compile_aggregate_condition(connection, parsed, **options)
    except QueryError:
        aggregate = aggregates.compile_aggregate_value(connection, parsed, **options)
    states = part_projection.states_with_parts_sql(history, [aggregate.row_expression])
    for double in filter(None, aggregate.summands.values()):
        found = connection.execute(
            f'SELECT 1 FROM (SELECT "offset", key, state{aggregate.row_expression.columns_sql} FROM {states}'
            f" WHERE {history.scope.condition}) WHERE {double} IS NOT NULL LIMIT 1"
        )
        if not found.fetchall():
            return f"No state ever had a number that {parsed.text!r} can add."
    return ""
