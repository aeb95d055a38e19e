"""What a projection in SQL may reach: the view `events`, and functions that only compute.

The query is parsed by DuckDB's own parser before it is run. Any other table would not be as it was at
the position; functions such as `json_execute_serialized_sql` or `query` would get at one by a text.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from replay.query_projections.allowed_functions import ANYWHERE, TABLE_FUNCTIONS
from storage.errors import ProjectionError
from storage.query import sql_query

_SEEN = ("events", "main.events")
_FORBIDDEN = {"SHOW_REF": "DESCRIBE, SHOW or SUMMARIZE", "COLUMN_DATA": "a table of its own"}


def refuse_others(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> None:
    """Raise `ProjectionError` if the query of the projection `name` reaches anything but events."""
    for function, is_table in _functions(_tree(connection, query, name)):
        if function.lower() not in (TABLE_FUNCTIONS if is_table else ANYWHERE):
            raise ProjectionError(
                f"{name} calls {function}(), which a projection may not: it sees events only,"
                " as of the position."
            )
    # Where there are no tables, the names are given as they are written, without those of CTEs.
    with duckdb.connect(":memory:") as nowhere:
        try:
            tables = nowhere.get_table_names(query, qualified=True)
        except duckdb.Error as error:
            raise ProjectionError(
                f"{name} can't be asked. {sql_query.translate_query_error(error).message}"
            ) from error
    named = sorted(table.partition(" AS ")[0] for table in tables)
    others = [table for table in named if table.lower() not in _SEEN]
    if others:
        raise ProjectionError(
            f"{name} asks the table {others[0]}, and a projection sees events only,"
            " as of the position."
        )


def _tree(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> Any:
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(str(text))
    if tree.get("error"):
        said = str(tree.get("error_message", "it is no query")).splitlines()[0]
        raise ProjectionError(f"{name} can't be asked. The query doesn't parse: {said}.")
    for node in _nodes(tree):
        if node.get("type") in _FORBIDDEN:
            raise ProjectionError(
                f"{name} uses {_FORBIDDEN[node['type']]}, and a projection sees events only,"
                " as of the position."
            )
    return tree


def _functions(tree: Any) -> Iterator[tuple[str, bool]]:
    """Every function that is called, and whether it stands in a table's place."""
    in_tables = {
        id(node["function"]) for node in _nodes(tree) if node.get("type") == "TABLE_FUNCTION"
    }
    for node in _nodes(tree):
        if isinstance(node.get("function_name"), str):
            yield node["function_name"], id(node) in in_tables


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
