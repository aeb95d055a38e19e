"""Checks that the tables of a workspace contain only values that refold writes.

A stranger can send a workspace with the right tables and wrong cells. One query checks each table
against `cell_rules`; the few columns with structured JSON are decoded. `validation_cache` remembers
files that passed, so a file is checked once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import msgspec

from storage.plural import format_count
from storage.workspace.cell_rules import rules_of

VERSION = 1
"""Version of the rules; a file that passed another version is checked again."""

DEEPEST_FORK = 50
"""Most forks between a timeline and the log."""
_MOST_TIMELINES = 100_000
_LONGEST = 16 << 20
"""Most characters of a JSON text that is decoded as a whole."""
_AT_ONCE = 1_000

_STRUCTURES: dict[str, Any] = {
    "projections.files": dict[str, str],
    "projections.invariants": dict[str, str | None],
    "folds.unhandled": dict[str, int],
    "folds.numbers": list[str | None],
    "forked.births": dict[str, list[int]],
    "calls.headers": list[tuple[str, str]],
    "calls.request": Any,
    "edits.said": Any,
    "workspace.value": Any,
}
"""JSON columns that refold decodes without handling errors, and their types."""
_COUNTED = {
    "first": "events edits",
    "folded": "events edits",
    "changes": "history",
    "keys": "documents",
    "parts": "parts",
}
"""Count columns of `folds`, and the tables whose rows they count; a fork counts its parent's rows too."""
_SLACK = 1_000
_ONLY = {"edits.said": "kind = 'answers'"}


def find_invalid(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return a clause about the first invalid value, or None if there is none.

    The database must have exactly refold's tables and macros. Reads every table once.
    """
    filled = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND estimated_size > 0"
    ).fetchall()
    for (table,) in sorted(filled):
        found = _broken_rule(connection, table)
        if found is not None:
            return found
    return next(_problems(connection), None)


def _broken_rule(connection: duckdb.DuckDBPyConnection, table: str) -> str | None:
    rules = rules_of(table)
    if not rules:
        return None
    counts = ", ".join(f"count_if({rule.broken})" for rule in rules)
    row = connection.execute(f"SELECT {counts} FROM {table}").fetchone() or ()
    for rule, rows in zip(rules, row, strict=True):
        if rows:
            return f"{rule.problem} in {format_count(rows, 'row')}"
    return None


def _problems(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for name, kind in _STRUCTURES.items():
        table, _, column = name.partition(".")
        if not _is_structured(connection, table, column, kind, _ONLY.get(name, "true")):
            yield f"{name} has a structure that refold doesn't write"
    if not _is_dense(connection):
        yield "events.offset doesn't number the events from 0"
    yield from _unknown_numbers(connection)
    yield from _too_many(connection)
    yield from _wrong_timelines(connection)


def _is_structured(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, kind: Any, condition: str
) -> bool:
    decoder = msgspec.json.Decoder(kind)
    found = connection.execute(
        f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL AND {condition}"
    )
    while rows := found.fetchmany(_AT_ONCE):
        for (text,) in rows:
            try:
                if len(text) > _LONGEST:
                    return False
                decoder.decode(text)
            except (msgspec.MsgspecError, RecursionError, ValueError):
                return False
    return True


def _is_dense(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether offsets number the events from 0 without gaps."""
    # Offsets nearly always equal the rowid, which is checked without a hash table.
    (moved,) = connection.execute('SELECT count_if("offset" <> rowid) FROM events').fetchall()[0]
    if not moved:
        return True
    dense = 'count(DISTINCT "offset") = count(*) AND max("offset") = count(*) - 1'
    return connection.execute(f"SELECT {dense} FROM events").fetchall() == [(True,)]


def _unknown_numbers(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield problems with projection numbers that are missing or repeated."""
    doubled = "SELECT projection FROM projections GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
    if connection.execute(doubled).fetchall():
        yield "projections.projection has a repeated number"
    lost = (
        "SELECT 1 FROM folds WHERE projection NOT IN (SELECT projection FROM projections) LIMIT 1"
    )
    if connection.execute(lost).fetchall():
        yield "folds.projection has a number that no projection has"
    doubled = "SELECT 1 FROM folds GROUP BY projection, timeline HAVING count(*) > 1 LIMIT 1"
    if connection.execute(doubled).fetchall():
        yield "folds has two rows for a projection on one timeline"


def _too_many(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield problems with counts far above the number of rows; refold allocates memory by these counts."""
    for column, tables in _COUNTED.items():
        row_count = " + ".join(f"(SELECT count(*) FROM {table})" for table in tables.split())
        most = f"2 * ({row_count}) + {_SLACK}"
        found = connection.execute(f"SELECT 1 FROM folds WHERE {column} > {most} LIMIT 1")
        if found.fetchall():
            yield f"folds.{column} is larger than the number of rows that it counts"


def _wrong_timelines(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield problems with forks whose parents don't lead to the log."""
    found = connection.execute(
        f"SELECT timeline, parent FROM timelines LIMIT {_MOST_TIMELINES + 1}"
    )
    rows = found.fetchall()
    parents = dict(rows)
    if len(rows) > _MOST_TIMELINES:
        yield f"timelines has more than {_MOST_TIMELINES:,} forks"
    elif len(parents) < len(rows) or "main" in parents:
        yield "timelines has a repeated name"
    else:
        wrong = _wrong_parent(parents)
        if wrong is not None:
            yield wrong


def _wrong_parent(parents: Mapping[str, str]) -> str | None:
    depths = {"main": 0}
    for name in parents:
        line: list[str] = []
        ancestor = name
        while ancestor not in depths:
            line.append(ancestor)
            if len(line) > DEEPEST_FORK:
                return (
                    f"timelines.parent leads from {name!r} through more than {DEEPEST_FORK} forks,"
                    " or in a circle"
                )
            if ancestor not in parents:
                return f"timelines.parent names {ancestor!r}, which is not a timeline"
            ancestor = parents[ancestor]
        if depths[ancestor] + len(line) > DEEPEST_FORK:
            return f"timelines.parent leads from {name!r} through more than {DEEPEST_FORK} forks"
        depths |= {one: depths[ancestor] + n for n, one in enumerate(reversed(line), 1)}
    return None
