"""Excerpts of large documents: what an expression names of them, as small documents of its own.

So a question on states is asked of large ones as it is of any other: each change of a large document
has the parts, as of that change, that hold what is at the paths, and nothing beside them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import duckdb

from replay.document import paths
from replay.document.paths import Path
from replay.history.history import History
from replay.query.sql_compiler import Expression
from storage.errors import QueryError
from storage.quoting import quoted

_COLUMNS = 'projection, timeline, bucket, key, "offset", change, previous, in_parts'


def states(
    connection: duckdb.DuckDBPyConnection, history: History, asked: Iterable[Expression]
) -> str:
    """SQL for a relation like `history`, with the states that the expressions need of it.

    Raises `QueryError` for the length of an object that is kept in parts.
    """
    if not history.folded.parts:
        return "history"
    expressions = list(asked)
    wanted = {path for one in expressions for column, path in one.places if column in _STATES}
    there = _there(connection, history, wanted)
    for one in expressions:
        for column, path in one.lengths:
            if column in _STATES and there.get(paths.pointer(path), (False, False))[1]:
                raise QueryError(
                    f"{one.text!r} asks for the length of an object that is kept in parts, which"
                    " nobody has counted; ask for a value in it."
                )
    pointers = {paths.pointer(path) for path in wanted}
    needed = [part for part, (whole, _) in there.items() if part and (whole or part in pointers)]
    names = {part: f"p{number}" for number, part in enumerate(sorted(needed))}
    mine = f"projection = {int(history.folded.number)} AND timeline = {quoted(history.folded.timeline)}"
    joins = "".join(
        f" ASOF LEFT JOIN (SELECT key, change, state FROM parts WHERE {mine}"
        f" AND part = {quoted(part)}) AS {name} ON {name}.key = h.key AND h.change >= {name}.change"
        for part, name in names.items()
    )
    columns = ", ".join(f"h.{column}" for column in _COLUMNS.split(", "))
    return (
        f"(SELECT {_COLUMNS}, state FROM history WHERE {mine} AND NOT in_parts UNION ALL"
        f" SELECT {columns}, {_tree(names).text} AS state"
        f" FROM (FROM history WHERE {mine} AND in_parts) AS h{joins})"
    )


def held(connection: duckdb.DuckDBPyConnection, history: History, path: Path) -> bool:
    """Whether any large document ever had a value at a path."""
    if not history.folded.parts:
        return False
    for part, (whole, opened) in _there(connection, history, [path]).items():
        rest = paths.pointer(path)[len(part) :]
        if opened and not rest:
            return True
        if whole and rest:
            found = connection.execute(
                "SELECT 1 FROM parts WHERE projection = ? AND timeline = ? AND part = ?"
                " AND json_extract(state, ?) IS NOT NULL LIMIT 1",
                [history.folded.number, history.folded.timeline, part, rest],
            )
            if found.fetchall():
                return True
        elif whole:
            return True
    return False


_STATES = ("state", "before")
"""Columns of an expression that are states."""


def _there(
    connection: duckdb.DuckDBPyConnection, history: History, wanted: Iterable[Path]
) -> dict[str, tuple[bool, bool]]:
    """Parts on the way to these paths: whether they ever were whole, and ever taken apart."""
    ways = {paths.pointer(path[:n]) for path in wanted for n in range(len(path) + 1)}
    rows = connection.execute(
        "SELECT part, bool_or(state <> '{}'), bool_or(state = '{}') FROM parts"
        " WHERE projection = ? AND timeline = ? AND list_contains(?, part) GROUP BY part",
        [history.folded.number, history.folded.timeline, sorted(ways)],
    ).fetchall()
    return {part: (bool(whole), bool(opened)) for part, whole, opened in rows}


@dataclass
class _Node:
    """An object on the way to parts, or a part."""

    column: str | None = None
    """The join that has it, where it may be whole."""
    inside: dict[str, "_Node"] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """SQL for its JSON; NULL where it isn't there."""
        members = "".join(
            f", {quoted(json.dumps(name, ensure_ascii=False) + ':')} || {node.text}"
            for name, node in self.inside.items()
        )
        opened = f"concat('{{', concat_ws(','{members}), '}}')" if members else "'{}'"
        if self.column is None:
            return opened
        state = f"{self.column}.state"
        return f"(CASE WHEN {state} = '{{}}' THEN {opened} ELSE {state} END)"


def _tree(names: dict[str, str]) -> _Node:
    root = _Node()
    for part, name in names.items():
        node = root
        for step in paths.from_pointer(part):
            node = node.inside.setdefault(step, _Node())
        node.column = name
    return root
