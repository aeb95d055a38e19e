"""Parses conditions of the user with DuckDB's own parser, before anything runs.

A condition is one expression over the columns of one table. Subqueries, table functions, windows, and
text that closes the parenthesis around the condition are refused.
"""

import json
import re
from typing import Any

import duckdb

from storage.errors import QueryError
from storage.workspace.schema import EVENTS

_WORDS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w.$])(?P<offset>offset)(?![\w(])""", re.IGNORECASE
)
_MOST_DIGITS = 38
"""Most digits of DuckDB's decimals and integers."""
_SEVERAL_EXPRESSIONS = "it is more than one expression"
_FORBIDDEN_NODES = {
    "SUBQUERY": "a subquery",
    "TABLE_FUNCTION": "a table function",
    "WINDOW": "a window",
}


def check_condition(connection: duckdb.DuckDBPyConnection, text: str, table: str) -> str:
    """Return the condition as SQL for a WHERE clause; raises `QueryError` if it isn't valid for the table."""
    return check_parsed_condition(connection, text, parse_condition(connection, text, table), table)


def check_parsed_condition(
    connection: duckdb.DuckDBPyConnection, typed: str, tree: dict[str, Any], table: str
) -> str:
    """Return the condition as in `check_condition`; `tree` is its syntax tree."""
    text = _quote_offset(typed)
    forbidden = _find_forbidden(tree)
    if forbidden is not None:
        raise QueryError(
            f"The condition {typed!r} contains {forbidden}, which is not allowed in a condition;"
            f" write one expression over the columns of {table}."
        )
    try:
        connection.execute(f"EXPLAIN SELECT 1 FROM {table} WHERE (\n{text}\n)")
    except duckdb.Error as error:
        raise translate_condition_error(typed, table, error) from error
    return f"(\n{text}\n)"


def parse_condition(
    connection: duckdb.DuckDBPyConnection, typed: str, table: str
) -> dict[str, Any]:
    """Return the condition as DuckDB's syntax tree; raises `QueryError` unless it is one expression."""
    text = _quote_offset(typed)
    if not text.strip():
        raise QueryError("The condition is empty; write one such as state.total < 0.")
    # A text that closes a parenthesis that it didn't open parses in only one of the two.
    for condition in (f"\n{text}\n", f" (\n{text}\n)"):
        tree = _parse_sql(connection, f"SELECT 1 FROM {table} WHERE{condition}")
        if tree["error"]:
            message = str(tree.get("error_message", "it is not a SQL expression")).splitlines()[0]
            message = _SEVERAL_EXPRESSIONS if "Only SELECT" in message else message
            raise QueryError(
                f"The condition {typed!r} doesn't parse: {message}{_suggest_fix(typed)}."
            )
    node = tree["statements"][0]["node"] if len(tree["statements"]) == 1 else {}
    plain = (
        node.get("type") == "SELECT_NODE"
        and node.get("where_clause")
        and not node.get("modifiers")
        and not node.get("group_expressions")
        and node.get("having") is None
        and node.get("from_table", {}).get("table_name") == table
    )
    if not plain:
        raise QueryError(f"The condition {typed!r} is more than one expression.")
    _refuse_long_numbers(typed, node["where_clause"])
    return dict(node["where_clause"])


def _refuse_long_numbers(typed: str, node: Any) -> None:
    """Raise `QueryError` if an integer has more digits than DuckDB can compare."""
    if isinstance(node, dict):
        literal = node.get("literal")
        text = literal.get("text", "") if isinstance(literal, dict) else ""
        if isinstance(literal, dict) and literal.get("kind") == "INTEGER":
            digits = text.replace("_", "").lstrip("0")
            if len(digits) > _MOST_DIGITS:
                shown = typed if len(typed) <= 100 else f"{typed[:99]}…"
                raise QueryError(
                    f"The condition {shown!r} contains an integer of {len(digits):,} digits; DuckDB"
                    f" compares at most {_MOST_DIGITS}. Write it with an exponent, as"
                    f" {digits[0]}.{digits[1]}e{len(digits) - 1}."
                )
        for inner in node.values():
            _refuse_long_numbers(typed, inner)
    elif isinstance(node, list):
        for inner in node:
            _refuse_long_numbers(typed, inner)


def _suggest_fix(typed: str) -> str:
    """Return a hint for a mistake in a path, or an empty text."""
    quoted = re.search(r"\.\s*('(?:[^']|'')*')", typed)
    if quoted:
        return f"; in a path write [{quoted[1]}] instead of {quoted[0]}"
    digits = re.search(r"[\w\]]\.(\d+)", typed)
    return f"; in a path write ['{digits[1]}'] instead of .{digits[1]}" if digits else ""


def _quote_offset(text: str) -> str:
    """Put the column offset in quotes, because OFFSET is a reserved word of SQL."""
    return _WORDS.sub(lambda found: f'"{found[0]}"' if found["offset"] else found[0], text)


def translate_condition_error(text: str, table: str, error: duckdb.Error) -> QueryError:
    """Return a DuckDB error about a condition, raised while planning or running it, as a `QueryError`."""
    first = str(error).splitlines()[0].split(": ", 1)[-1]
    unknown = re.match(r'Referenced column "(.+?)" not found', first)
    if unknown is not None and table == EVENTS.name:
        names = ", ".join(name for name, _ in EVENTS.columns)
        return QueryError(
            f"The condition {text!r} uses the unknown column {unknown[1]}. Available: {names}."
        )
    return QueryError(f"The condition {text!r} can't be evaluated on {table}: {first.rstrip('.')}.")


def _parse_sql(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any]:
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
    return dict(json.loads(str(text)))


def _find_forbidden(node: Any) -> str | None:
    if isinstance(node, dict):
        kind = node.get("class") or node.get("type")
        if kind in _FORBIDDEN_NODES:
            return _FORBIDDEN_NODES[kind]
        return next((found for v in node.values() if (found := _find_forbidden(v))), None)
    if isinstance(node, list):
        return next((found for v in node if (found := _find_forbidden(v))), None)
    return None
