"""Numbers kept beside the states: of some paths, what every state of a history has there, as doubles.

Whoever asks something of every state would take each out of its JSON again, which is most of the time
that an answer takes. So what the first states have as numbers is kept in columns of its own while
it is folded. A path is given up for the whole history as soon as any state has something else there, or
a number that a double may not hold as it is written: what is kept answers for every state, or for none.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from replay.document import paths
from replay.document.paths import Path
from replay.query.sql_compiler import WHOLE
from storage.db.query import arrow
from storage.quoting import quoted
from storage.workspace.schema import NUMBERS

_LOOKED_AT = 100
"""States that tell which paths there are."""
_LARGE = 1 << 16
"""Characters of a state that isn't looked at for that."""
_DEEP = 3
_RARE = 0.5
"""Of the states that are looked at: a path that fewer have isn't kept."""
_NAME = re.compile(r"[A-Za-z_][\w\-]{0,62}", re.ASCII)


class KeptNumbers:
    """Which numbers of one history are kept, and in which columns."""

    def __init__(self, kept: str | None = None) -> None:
        """Read from `folds.numbers`; None where nothing has been folded yet."""
        pointers: Sequence[str | None] = [] if kept is None else json.loads(kept)
        self._chosen = kept is not None
        self._paths = [None if text is None else paths.from_pointer(text) for text in pointers]
        """By column; None where a path was given up."""

    @property
    def text(self) -> str | None:
        """For `folds.numbers`: JSON pointers, null where a path was given up."""
        if not self._chosen:
            return None
        return json.dumps([None if path is None else paths.pointer(path) for path in self._paths])

    @property
    def columns(self) -> Mapping[Path, str]:
        """The column of each path."""
        return dict(self._named())

    def beside(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Table:
        """Rows of a history, which have a `state`, with the columns of their numbers; the first
        rows of a history choose which there are."""
        if not self._chosen and rows.num_rows:
            self._paths = list(_found(rows["state"]))
            self._chosen = True
        for name, column in self._taken(connection, rows).items():
            rows = rows.append_column(name, column)
        return rows

    def _named(self) -> Iterator[tuple[tuple[str, ...], str]]:
        for path, name in zip(self._paths, NUMBERS, strict=False):
            if path is not None:
                yield path, name

    def _taken(
        self, connection: duckdb.DuckDBPyConnection, rows: pa.Table
    ) -> Mapping[str, pa.Array]:
        """The numbers of these rows; gives up the paths that have something else."""
        named = list(self._named())
        if not named:
            return {}
        # A query that fails would take the transaction with it.
        with closing(connection.cursor()) as asking:
            asking.register("rows", rows)
            try:
                found = arrow(asking, _query(named))
            except duckdb.DataError:
                self._paths = []  # a program may give what is no JSON
                return {}
        kept = {}
        for path, name in named:
            if (np.abs(found[name].to_numpy()) >= float(WHOLE)).any():
                self._paths[self._paths.index(path)] = None
            else:
                kept[name] = found[name]
        return kept


def _found(states: pa.ChunkedArray) -> Sequence[tuple[str, ...]]:
    """Where numbers are in most of these states, at most as many as there are columns."""
    met: Counter[tuple[str, ...]] = Counter()
    places = np.unique(np.linspace(0, len(states) - 1, _LOOKED_AT, dtype=np.int64))
    looked_at = [state for state in states.take(places).to_pylist() if state is not None]
    for state in looked_at:
        if len(state) <= _LARGE:
            try:
                met.update(_numbers(json.loads(state), ()))
            except (ValueError, RecursionError):
                continue  # it is no JSON, or a very deep one
    chosen: list[tuple[str, ...]] = []
    for path, count in met.most_common():
        if count >= _RARE * len(looked_at) and not any(_alike(path, other) for other in chosen):
            chosen.append(path)
    return chosen[: len(NUMBERS)]


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of numbers in objects."""
    if isinstance(value, dict) and len(path) < _DEEP:
        for name, member in value.items():
            if _NAME.fullmatch(name):
                yield from _numbers(member, (*path, name))
    elif path and isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one leads through the other, as far as DuckDB tells names of members apart."""
    return all(a.lower() == b.lower() for a, b in zip(one, other, strict=False))


def _query(named: Sequence[tuple[tuple[str, ...], str]]) -> str:
    """Numbers out of `rows`: NULL where there is nothing, infinite what is none, and NaN where
    the document is gone."""
    shape: dict[str, Any] = {}
    for path, _ in named:
        inside = shape
        for step in path[:-1]:
            inside = inside.setdefault(step, {})
        inside[path[-1]] = "JSON"
    numbers = ", ".join(f"{_number(path)} AS {name}" for path, name in named)
    there = f"from_json(state, {quoted(json.dumps(shape))})"
    return f"SELECT {numbers} FROM (SELECT state, {there} AS there FROM rows)"


def _number(path: tuple[str, ...]) -> str:
    text = "CAST(" + ".".join(["there", *(f'"{step}"' for step in path)]) + " AS VARCHAR)"
    return (
        f"CASE WHEN state IS NULL THEN CAST('NaN' AS DOUBLE) WHEN {text} IS NOT NULL"
        f" THEN coalesce(TRY_CAST({text} AS DOUBLE), 'Infinity') END"
    )
