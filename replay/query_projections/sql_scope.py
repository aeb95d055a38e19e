"""Limits a projection in SQL to the view `events` and to functions that only compute.

DuckDB's own parser parses the query before it runs. Other tables are refused, because they don't show
their rows as of the position; functions such as `json_execute_serialized_sql` or `query` could reach a
table through a text.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from replay.query_projections.allowed_functions import ANYWHERE, TABLE_FUNCTIONS
from storage.errors import ProjectionError
from storage.query import sql_query

_VISIBLE_TABLES = ("events", "main.events")
_FORBIDDEN = {"SHOW_REF": "DESCRIBE, SHOW or SUMMARIZE", "COLUMN_DATA": "a table of its own"}


def check_query_scope(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> None:
    """Raise `ProjectionError` if the query of the projection `name` uses anything but events."""
    for function, is_table in _iterate_functions(_parse_query_tree(connection, query, name)):
        if function.lower() not in (TABLE_FUNCTIONS if is_table else ANYWHERE):
            raise ProjectionError(
                f"{name} calls {function}(), which a projection may not call: a projection sees events"
                " only, as of the position."
            )
    # On a connection without tables, DuckDB returns the names as written, without those of CTEs.
    with duckdb.connect(":memory:") as empty_connection:
        try:
            tables = empty_connection.get_table_names(query, qualified=True)
        except duckdb.Error as error:
            raise ProjectionError(
                f"{name} isn't valid SQL. {sql_query.translate_query_error(error).message}"
            ) from error
    named = sorted(table.partition(" AS ")[0] for table in tables)
    others = [table for table in named if table.lower() not in _VISIBLE_TABLES]
    if others:
        raise ProjectionError(
            f"{name} reads the table {others[0]}, but a projection sees events only, as of the position."
            " Read from events."
        )


def _parse_query_tree(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> Any:
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(str(text))
    if tree.get("error"):
        message = str(tree.get("error_message", "it isn't a query")).splitlines()[0]
        raise ProjectionError(f"{name} isn't valid SQL. The query doesn't parse: {message}.")
    for node in _iterate_nodes(tree):
        if node.get("type") in _FORBIDDEN:
            raise ProjectionError(
                f"{name} uses {_FORBIDDEN[node['type']]}, but a projection sees events only,"
                " as of the position."
            )
    return tree


def _iterate_functions(tree: Any) -> Iterator[tuple[str, bool]]:
    """Yield the name of every called function, and whether it is used in place of a table."""
    in_tables = {
        id(node["function"])
        for node in _iterate_nodes(tree)
        if node.get("type") == "TABLE_FUNCTION"
    }
    for node in _iterate_nodes(tree):
        if isinstance(node.get("function_name"), str):
            yield node["function_name"], id(node) in in_tables


def _iterate_nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
