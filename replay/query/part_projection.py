"""Excerpts of large documents: only the parts that hold the paths that an expression names.

A query over states can therefore treat large documents, which are stored in parts, like any other:
at each change of a large document, its state contains the needed parts as of that change and no others.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.history.history import History
from replay.query.compiled_expression import CompiledExpression
from storage.errors import QueryError
from storage.quoting import quote_literal

_HISTORY_COLUMNS = 'projection, timeline, bucket, key, "offset", change, previous, in_parts'


def states_with_parts_sql(history: History, requested: Iterable[CompiledExpression]) -> str:
    """Return SQL for a relation like `history`, whose states hold what the expressions need.

    Raises `QueryError` if an expression asks for the length of an object that is stored in parts.
    """
    if not history.has_parts:
        return "history"
    expressions = list(requested)
    requested_paths = {
        path
        for one in expressions
        for column, path in one.value_columns
        if column in _STATE_COLUMNS
    }
    part_kinds = _load_part_kinds(history, requested_paths)
    for one in expressions:
        for column, path in one.length_paths:
            if (
                column in _STATE_COLUMNS
                and part_kinds.get(paths.format_pointer(path), (False, False))[1]
            ):
                raise QueryError(
                    f"{one.text!r} asks for the length of an object that is stored in parts, whose"
                    " members aren't counted. Ask for a value inside it."
                )
    pointers = {paths.format_pointer(path) for path in requested_paths}
    needed_parts = [
        part for part, (whole, _) in part_kinds.items() if part and (whole or part in pointers)
    ]
    names = {part: f"p{number}" for number, part in enumerate(sorted(needed_parts))}
    mine = history.scope.condition
    joins = "".join(
        f" ASOF LEFT JOIN (SELECT key, change, state FROM parts WHERE {mine}"
        f" AND part = {quote_literal(part)}) AS {name} ON {name}.key = h.key AND h.change >= {name}.change"
        for part, name in names.items()
    )
    columns = ", ".join(f"h.{column}" for column in _HISTORY_COLUMNS.split(", "))
    return (
        f"(SELECT {_HISTORY_COLUMNS}, state FROM history WHERE {mine} AND NOT in_parts UNION ALL"
        f" SELECT {columns}, {_build_tree(names).json_sql} AS state"
        f" FROM (FROM history WHERE {mine} AND in_parts) AS h{joins})"
    )


def has_value_in_parts(history: History, path: DocumentPath) -> bool:
    """Return whether any large document ever had a value at a path."""
    if not history.has_parts:
        return False
    for part, (whole, opened) in _load_part_kinds(history, [path]).items():
        rest = paths.format_pointer(path)[len(part) :]
        if opened and not rest:
            return True
        if whole and (not rest or history.part_rows.has_value(part, rest)):
            return True
    return False


_STATE_COLUMNS = ("state", "before")
"""The columns of an expression that hold states."""


def _load_part_kinds(
    history: History, requested_paths: Iterable[DocumentPath]
) -> dict[str, tuple[bool, bool]]:
    """Return the parts on the way to these paths: (was ever stored whole, was ever split further)."""
    pointers = {
        paths.format_pointer(path[:n]) for path in requested_paths for n in range(len(path) + 1)
    }
    return history.part_rows.read_kinds(sorted(pointers))


@dataclass
class _PartNode:
    """An object on the way to parts, or a part."""

    column: str | None = None
    """The alias of the join that reads the part; None for an object that only contains parts."""
    members: dict[str, "_PartNode"] = field(default_factory=dict)

    @property
    def json_sql(self) -> str:
        """SQL for the node's JSON; NULL if it doesn't exist."""
        members = "".join(
            f", {quote_literal(json.dumps(name, ensure_ascii=False) + ':')} || {node.json_sql}"
            for name, node in self.members.items()
        )
        opened = f"concat('{{', concat_ws(','{members}), '}}')" if members else "'{}'"
        if self.column is None:
            return opened
        state = f"{self.column}.state"
        return f"(CASE WHEN {state} = '{{}}' THEN {opened} ELSE {state} END)"


def _build_tree(names: dict[str, str]) -> _PartNode:
    root = _PartNode()
    for part, name in names.items():
        node = root
        for step in paths.parse_pointer(part):
            node = node.members.setdefault(step, _PartNode())
        node.column = name
    return root
