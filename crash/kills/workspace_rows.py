"""The rows of a workspace's tables for comparison, without columns that differ between runs."""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from crash.command import Home, run_function

_VOLATILE = {
    "bookmarks": {"created"},
    "calls": {"time", "latency"},
    "folds": {"seconds"},
    "projections": {"created"},
    "timelines": {"created"},
    "watches": {"created"},
}
"""Columns to ignore, because they hold the time of the clock or a duration."""
_CACHES = {
    "folds": {"plain", "numbers"},
    "history": {f"number{number}" for number in range(1, 9)},
}
"""Columns that only speed up queries. A fold fills them from the states of its first write, and how
many states that are depends on the time that they took. They are ignored after a command that folds."""
_RANDOM_METADATA = ("generation",)
"""Names in the table `workspace` whose values are random; only these values are ignored."""

_KEYED_HASH = re.compile("redacted-[0-9a-f]{16}")
"""Hashes to ignore, because each try has its own redaction key."""

Rows = Mapping[str, Counter[str]]
"""The rows of each table as JSON texts, with their counts."""


class UnreadableWorkspaceError(RuntimeError):
    """DuckDB can't open the file; the message says why."""


def read_rows(home: Home, path: Path, *, with_caches: bool = True) -> Rows | None:
    """Return the rows of a workspace, or None if there is no file.

    Set `with_caches` to false for a workspace in which a command folds.

    Raises UnreadableWorkspaceError if DuckDB can't open it.
    """
    if not path.exists():
        return None
    outcome = run_function(home, lambda: _print_rows(path, with_caches), label=["read rows"])
    if outcome.code != 0:
        raise UnreadableWorkspaceError(outcome.stderr.decode("utf-8", "replace")[-500:])
    return {name: Counter(rows) for name, rows in json.loads(outcome.stdout).items()}


def difference(before: Rows | None, after: Rows | None) -> str:
    """Return which tables differ, and by how many rows; empty if none differs."""
    if before is None or after is None:
        return "" if before is after else "one of them does not exist"
    differences = []
    for name in sorted({*before, *after}):
        less = before.get(name, Counter()) - after.get(name, Counter())
        more = after.get(name, Counter()) - before.get(name, Counter())
        if less or more:
            example = _example(min(less, default="{}"), min(more, default="{}"))
            differences.append(f"{name}: -{less.total()} +{more.total()} ({example})")
    return "; ".join(differences)


def _example(before: str, after: str) -> str:
    """Return what differs between two rows."""
    one, other = json.loads(before), json.loads(after)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    pairs = [f"{name} {one.get(name)!r:.40} became {other.get(name)!r:.40}" for name in names]
    return ", ".join(pairs)[:300]


def lost(before: Rows | None, after: Rows | None, tables: tuple[str, ...]) -> str:
    """Return which rows of these tables are gone; empty if none."""
    if before is None:
        return ""
    losses = []
    for name in tables:
        less = before.get(name, Counter()) - (after or {}).get(name, Counter())
        if less:
            losses.append(f"{name}: {less.total()} rows ({next(iter(less))[:160]})")
    return "; ".join(losses)


def _print_rows(path: Path, with_caches: bool) -> int:
    import duckdb

    with duckdb.connect(str(path), read_only=True, config={"threads": 1}) as connection:
        names = "SELECT table_name FROM duckdb_tables() ORDER BY table_name"
        found = {}
        for (name,) in connection.execute(names).fetchall():
            rows = connection.execute(_rows_sql(name, with_caches)).fetchall()
            found[name] = [_KEYED_HASH.sub("redacted-x", row) for (row,) in rows]
        json.dump(found, sys.stdout)
    return 0


def _rows_sql(table: str, with_caches: bool) -> str:
    """Return the query for the rows of a table as JSON texts."""
    ignored = {*_VOLATILE.get(table, ()), *(() if with_caches else _CACHES.get(table, ()))}
    # Workspaces of older formats lack some of the columns.
    left_out = "".join(f", '{column}'" for column in sorted(ignored))
    columns = f"COLUMNS(lambda c: c NOT IN (''{left_out}))"
    if table == "workspace":
        names = ", ".join(f"'{name}'" for name in _RANDOM_METADATA)
        columns = f"* REPLACE (CASE WHEN name IN ({names}) THEN 'random' ELSE value END AS value)"
    return f'SELECT to_json(t)::VARCHAR FROM (SELECT {columns} FROM "{table}") t'
