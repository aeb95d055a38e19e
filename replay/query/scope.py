"""What an expression may name, and what of it an expression names: columns, and paths into their JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from replay.document.paths import Path, Step

Place = tuple[str, Path]
"""A column with JSON text, and a path into it."""


class Kind(Enum):
    """What a part of a condition is."""

    NUMBER = "a number"
    TEXT = "text"
    TRUTH = "true or false"
    VALUE = "a value of the state"
    """Of any kind, until it is compared."""


@dataclass(frozen=True)
class Names:
    """What an expression may name."""

    values: Mapping[str, str]
    """Names of what has paths into it, and the columns with its JSON text."""
    columns: Mapping[str, Kind]
    """Names of columns that are there as they are."""

    def __str__(self) -> str:
        *first, last = [*self.values, *self.columns]
        return f"{', '.join(first)} and {last}" if first else last


def named(tree: Any, names: Names) -> list[Place]:
    """Every column with a path into it that an expression names, each once."""
    if isinstance(tree, dict):
        place = place_of(tree, names) if "class" in tree and "type" in tree else None
        if place is not None:
            return [place]
        tree = list(tree.values())
    if not isinstance(tree, list):
        return []
    return list(dict.fromkeys(place for part in tree for place in named(part, names)))


def place_of(node: dict[str, Any], names: Names) -> Place | None:
    """Column and path of `state.a.b`, `state['a b']` or `state.items[0]`; None for the rest."""
    if node["class"] == "COLUMN_REF":
        first, *rest = node["column_names"]
        column = names.values.get(first.lower())
        return None if column is None else (column, tuple(rest))
    if node["type"] not in ("ARRAY_EXTRACT", "STRUCT_EXTRACT"):
        return None
    inner, step = node["children"]
    place = place_of(inner, names)
    literal = step.get("literal") if step["class"] == "CONSTANT" else None
    if place is None or literal is None:
        return None
    found: Step = literal["text"]
    column, path = place
    return column, (*path, int(found) if literal["kind"] == "INTEGER" else found)
