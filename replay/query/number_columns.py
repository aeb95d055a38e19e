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
from replay.document.paths import DocumentPath
from replay.query.sql_compiler import EXACT_DOUBLE_LIMIT
from storage.db.query import fetch_arrow
from storage.quoting import quote_literal
from storage.workspace.schema import NUMBER_COLUMNS

_SAMPLE_STATES = 100
"""States that tell which paths there are."""
_MAX_SAMPLE_CHARACTERS = 1 << 16
"""Characters of a state that isn't looked at for that."""
_MAX_DEPTH = 3
_MIN_SHARE = 0.5
"""Of the states that are looked at: a path that fewer have isn't kept."""
_NAME = re.compile(r"[A-Za-z_][\w\-]{0,62}", re.ASCII)


class NumberColumns:
    """Which numbers of one history are kept, and in which columns."""

    def __init__(self, pointers_json: str | None = None) -> None:
        """Read from `folds.numbers`; None where nothing has been folded yet."""
        pointers: Sequence[str | None] = [] if pointers_json is None else json.loads(pointers_json)
        self._is_chosen = pointers_json is not None
        self._paths = [None if text is None else paths.parse_pointer(text) for text in pointers]
        """By column; None where a path was given up."""

    @property
    def pointers_json(self) -> str | None:
        """For `folds.numbers`: JSON pointers, null where a path was given up."""
        if not self._is_chosen:
            return None
        return json.dumps(
            [None if path is None else paths.format_pointer(path) for path in self._paths]
        )

    @property
    def columns(self) -> Mapping[DocumentPath, str]:
        """The column of each path."""
        return dict(self._columns_by_path())

    def append_to(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Table:
        """Rows of a history, which have a `state`, with the columns of their numbers; the first
        rows of a history choose which there are."""
        if not self._is_chosen and rows.num_rows:
            self._paths = list(_choose_paths(rows["state"]))
            self._is_chosen = True
        for name, column in self._extract_numbers(connection, rows).items():
            rows = rows.append_column(name, column)
        return rows

    def _columns_by_path(self) -> Iterator[tuple[tuple[str, ...], str]]:
        for path, name in zip(self._paths, NUMBER_COLUMNS, strict=False):
            if path is not None:
                yield path, name

    def _extract_numbers(
        self, connection: duckdb.DuckDBPyConnection, rows: pa.Table
    ) -> Mapping[str, pa.Array]:
        """The numbers of these rows; gives up the paths that have something else."""
        columns_by_path = list(self._columns_by_path())
        if not columns_by_path:
            return {}
        # A query that fails would take the transaction with it.
        with closing(connection.cursor()) as asking:
            asking.register("rows", rows)
            try:
                found = fetch_arrow(asking, _extraction_sql(columns_by_path))
            except duckdb.DataError:
                self._paths = []  # a program may give what is no JSON
                return {}
        number_columns = {}
        for path, name in columns_by_path:
            if (np.abs(found[name].to_numpy()) >= float(EXACT_DOUBLE_LIMIT)).any():
                self._paths[self._paths.index(path)] = None
            else:
                number_columns[name] = found[name]
        return number_columns


def _choose_paths(states: pa.ChunkedArray) -> Sequence[tuple[str, ...]]:
    """Where numbers are in most of these states, at most as many as there are columns."""
    path_counts: Counter[tuple[str, ...]] = Counter()
    sample_rows = np.unique(np.linspace(0, len(states) - 1, _SAMPLE_STATES, dtype=np.int64))
    sample = [state for state in states.take(sample_rows).to_pylist() if state is not None]
    for state in sample:
        if len(state) <= _MAX_SAMPLE_CHARACTERS:
            try:
                path_counts.update(_iterate_number_paths(json.loads(state), ()))
            except (ValueError, RecursionError):
                continue  # it is no JSON, or a very deep one
    chosen: list[tuple[str, ...]] = []
    for path, count in path_counts.most_common():
        if count >= _MIN_SHARE * len(sample) and not any(
            _do_paths_overlap(path, other) for other in chosen
        ):
            chosen.append(path)
    return chosen[: len(NUMBER_COLUMNS)]


def _iterate_number_paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of numbers in objects."""
    if isinstance(value, dict) and len(path) < _MAX_DEPTH:
        for name, member in value.items():
            if _NAME.fullmatch(name):
                yield from _iterate_number_paths(member, (*path, name))
    elif path and isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _do_paths_overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one leads through the other, as far as DuckDB tells names of members apart."""
    return all(a.lower() == b.lower() for a, b in zip(one, other, strict=False))


def _extraction_sql(columns_by_path: Sequence[tuple[tuple[str, ...], str]]) -> str:
    """Numbers out of `rows`: NULL where there is nothing, infinite what is none, and NaN where
    the document is gone."""
    shape: dict[str, Any] = {}
    for path, _ in columns_by_path:
        inside = shape
        for step in path[:-1]:
            inside = inside.setdefault(step, {})
        inside[path[-1]] = "JSON"
    numbers = ", ".join(f"{_number_sql(path)} AS {name}" for path, name in columns_by_path)
    there = f"from_json(state, {quote_literal(json.dumps(shape))})"
    return f"SELECT {numbers} FROM (SELECT state, {there} AS there FROM rows)"


def _number_sql(path: tuple[str, ...]) -> str:
    text = "CAST(" + ".".join(["there", *(f'"{step}"' for step in path)]) + " AS VARCHAR)"
    return (
        f"CASE WHEN state IS NULL THEN CAST('NaN' AS DOUBLE) WHEN {text} IS NOT NULL"
        f" THEN coalesce(TRY_CAST({text} AS DOUBLE), 'Infinity') END"
    )
