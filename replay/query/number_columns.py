"""Number columns: for some paths, the number that every state of a history has there, as doubles.

Extracting values from JSON takes most of the time of a scan, so the fold stores numbers at up to as
many paths as there are columns; the first states choose the paths. A path is given up for the whole
history as soon as a state has another type there, or a number that a double may not hold exactly: a
column answers for every state or for none.
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
"""States that are sampled to choose the paths."""
_MAX_SAMPLE_CHARACTERS = 1 << 16
"""Longer states of the sample are skipped."""
_MAX_DEPTH = 3
_MIN_SHARE = 0.5
"""The share of the sampled states that must have a number at a path."""
_NAME = re.compile(r"[A-Za-z_][\w\-]{0,62}", re.ASCII)


class NumberColumns:
    """The paths of one history whose numbers are stored, and their columns."""

    def __init__(self, pointers_json: str | None = None) -> None:
        """Parse the value of `folds.numbers`; None if nothing has been folded yet."""
        pointers: Sequence[str | None] = [] if pointers_json is None else json.loads(pointers_json)
        self._is_chosen = pointers_json is not None
        self._paths = [None if text is None else paths.parse_pointer(text) for text in pointers]
        """The path of each column; None if it was given up."""

    @property
    def pointers_json(self) -> str | None:
        """The value for `folds.numbers`: JSON pointers, null for a path that was given up."""
        if not self._is_chosen:
            return None
        return json.dumps(
            [None if path is None else paths.format_pointer(path) for path in self._paths]
        )

    @property
    def columns(self) -> Mapping[DocumentPath, str]:
        """The name of the column that stores the numbers at each path."""
        return dict(self._columns_by_path())

    def append_to(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Table:
        """Return rows of a history, which have a `state`, with their number columns added.

        The first rows of a history choose the paths.
        """
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
        """Return the numbers of these rows by column; give up the paths that hold anything else."""
        columns_by_path = list(self._columns_by_path())
        if not columns_by_path:
            return {}
        # A cursor of its own, because a failing query would abort the caller's transaction.
        with closing(connection.cursor()) as cursor:
            cursor.register("rows", rows)
            try:
                found = fetch_arrow(cursor, _extraction_sql(columns_by_path))
            except duckdb.DataError:
                self._paths = []  # a program may write states that are not JSON
                return {}
        number_columns = {}
        for path, name in columns_by_path:
            if (np.abs(found[name].to_numpy()) >= float(EXACT_DOUBLE_LIMIT)).any():
                self._paths[self._paths.index(path)] = None
            else:
                number_columns[name] = found[name]
        return number_columns


def _choose_paths(states: pa.ChunkedArray) -> Sequence[tuple[str, ...]]:
    """Return the paths at which most of these states have numbers, at most one for each column."""
    path_counts: Counter[tuple[str, ...]] = Counter()
    sample_rows = np.unique(np.linspace(0, len(states) - 1, _SAMPLE_STATES, dtype=np.int64))
    sample = [state for state in states.take(sample_rows).to_pylist() if state is not None]
    for state in sample:
        if len(state) <= _MAX_SAMPLE_CHARACTERS:
            try:
                path_counts.update(_iterate_number_paths(json.loads(state), ()))
            except (ValueError, RecursionError):
                continue  # not JSON, or nested too deeply
    chosen: list[tuple[str, ...]] = []
    for path, count in path_counts.most_common():
        if count >= _MIN_SHARE * len(sample) and not any(
            _do_paths_overlap(path, other) for other in chosen
        ):
            chosen.append(path)
    return chosen[: len(NUMBER_COLUMNS)]


def _iterate_number_paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the numbers inside nested objects."""
    if isinstance(value, dict) and len(path) < _MAX_DEPTH:
        for name, member in value.items():
            if _NAME.fullmatch(name):
                yield from _iterate_number_paths(member, (*path, name))
    elif path and isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _do_paths_overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether one path is a prefix of the other; DuckDB ignores the case of member names."""
    return all(a.lower() == b.lower() for a, b in zip(one, other, strict=False))


def _extraction_sql(columns_by_path: Sequence[tuple[tuple[str, ...], str]]) -> str:
    """Return SQL that extracts numbers from `rows`.

    NULL: no value; infinity: not a number; NaN: the document is deleted.
    """
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
