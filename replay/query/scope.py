"""The names that an expression can use, and those that it does use: columns and paths into their JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from replay.document.paths import DocumentPath, PathStep

ColumnPath = tuple[str, DocumentPath]
"""A column that holds JSON text, and a path into it."""


class TermKind(Enum):
    """The type of a part of a condition."""

    NUMBER = "a number"
    TEXT = "text"
    TRUTH = "true or false"
    VALUE = "a value of the state"
    """Its type is unknown until it is compared."""


@dataclass(frozen=True)
class ExpressionScope:
    """The names that an expression can use."""

    json_columns: Mapping[str, str]
    """Names that take a path (`state.total`), each with the column that holds its JSON text."""
    plain_columns: Mapping[str, TermKind]
    """Names of columns with plain values, and their types."""

    def __str__(self) -> str:
        *first, last = [*self.json_columns, *self.plain_columns]
        return f"{', '.join(first)} and {last}" if first else last


def list_column_paths(tree: Any, scope: ExpressionScope) -> list[ColumnPath]:
    """Return every column with a path into it that an expression names, each once."""
    if isinstance(tree, dict):
        column_path = find_column_path(tree, scope) if "class" in tree and "type" in tree else None
        if column_path is not None:
            return [column_path]
        tree = list(tree.values())
    if not isinstance(tree, list):
        return []
    return list(
        dict.fromkeys(
            column_path for part in tree for column_path in list_column_paths(part, scope)
        )
    )


def find_column_path(node: dict[str, Any], scope: ExpressionScope) -> ColumnPath | None:
    """Return column and path of `state.a.b`, `state['a b']` or `state.items[0]`; None for other nodes."""
    if node["class"] == "COLUMN_REF":
        first, *rest = node["column_names"]
        column = scope.json_columns.get(first.lower())
        return None if column is None else (column, tuple(rest))
    if node["type"] not in ("ARRAY_EXTRACT", "STRUCT_EXTRACT"):
        return None
    inner, step = node["children"]
    column_path = find_column_path(inner, scope)
    literal = step.get("literal") if step["class"] == "CONSTANT" else None
    if column_path is None or literal is None:
        return None
    literal_text: PathStep = literal["text"]
    column, path = column_path
    return column, (*path, int(literal_text) if literal["kind"] == "INTEGER" else literal_text)
