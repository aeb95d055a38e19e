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
    "edits": set(),
    "folds": {"seconds", "room", "plain", "numbers"},
    "history": {f"number{number}" for number in range(1, 9)},
    "projections": {"created"},
    "timelines": {"created"},
    "watches": {"created"},
}
"""Columns to ignore: clock times, durations, and numbers kept beside the states to speed up queries,
which depend on where a fold was interrupted."""

_KEYED_HASH = re.compile("redacted-[0-9a-f]{16}")
"""Hashes to ignore, because each try has its own redaction key."""

Rows = Mapping[str, Counter[str]]
"""The rows of each table as JSON texts, with their counts."""


class UnreadableWorkspaceError(RuntimeError):
    """DuckDB can't open the file; the message says why."""


def read_rows(home: Home, path: Path) -> Rows | None:
    """Return the rows of a workspace, or None if there is no file.

    Raises UnreadableWorkspaceError if DuckDB can't open it.
    """
    if not path.exists():
        return None
    outcome = run_function(home, lambda: _print_rows(path), label=["read rows"])
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


def _print_rows(path: Path) -> int:
    import duckdb

    with duckdb.connect(str(path), read_only=True, config={"threads": 1}) as connection:
        found = {}
        names = "SELECT table_name FROM duckdb_tables() ORDER BY table_name"
        for (name,) in connection.execute(names).fetchall():
            # Workspaces of older formats lack some of the columns.
            left_out = "".join(f", '{column}'" for column in sorted(_VOLATILE.get(name, ())))
            columns = f"COLUMNS(lambda c: c NOT IN (''{left_out}))"
            query = f'SELECT to_json(t)::VARCHAR FROM (SELECT {columns} FROM "{name}") t'
            rows = connection.execute(query).fetchall()
            found[name] = [_KEYED_HASH.sub("redacted-x", row) for (row,) in rows]
        json.dump(found, sys.stdout)
    return 0
