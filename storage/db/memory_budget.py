"""What DuckDB may take for an answer out of a workspace: memory, and cores.

It reads texts 2,048 at a time, however long they are, and holds several such vectors for each core
that works. What is plenty for short documents wouldn't let it read one of the longest.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

_VECTOR = 2_048
_HELD = 10
"""Vectors that are held for a core at once; measured, with the questions that hold most."""
_UNEVEN = 4
"""Texts that lie near one another are so many times longer than their average at most."""
_TEXTS = (("history", "state"), ("parts", "state"), ("events", "data"))


@dataclass(frozen=True)
class Allowance:
    """What a connection may take."""

    memory: int
    """Bytes."""
    cores: int | None = None
    """None: all."""


def needed(connection: duckdb.DuckDBPyConnection, asked: Allowance) -> Allowance:
    """What is needed where so much is asked for, in a workspace that is known to be refold's: more
    memory where its texts are long, and fewer cores."""
    room = max(1, *(_HELD * _VECTOR * longest for longest in _longest(connection, asked.memory)))
    memory = max(asked.memory, min(room, _machine() // 2))
    cores = max(1, memory // room)
    return Allowance(memory, cores if cores < (asked.cores or os.cpu_count() or 1) else asked.cores)


def _longest(connection: duckdb.DuckDBPyConnection, asked: int) -> Iterable[int]:
    """About how long the longest texts of each table are, in bytes."""
    for table, column in _TEXTS:
        try:
            found = connection.execute(f"SELECT stats({column}) FROM main.{table} LIMIT 1")
            longest = max((_length(stats) for (stats,) in found.fetchall()), default=0)
        except duckdb.OutOfMemoryException:
            longest = asked
        if _HELD * _VECTOR * longest > asked:
            longest = _by_stretch(connection, table, column)
        yield longest


def _by_stretch(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    """As the file tells of each stretch of a column: one long text says nothing of all others."""
    found = connection.execute(
        "SELECT stats, count FROM pragma_storage_info(?) WHERE column_name = ?"
        " AND segment_type = 'VARCHAR' AND count > 0",
        [table, column],
    ).fetchall()
    return max((_of_stretch(stats, count) for stats, count in found), default=0)


def _of_stretch(stats: object, count: int) -> int:
    longest = _length(stats)
    total = stats.get("total_string_length") if isinstance(stats, dict) else None
    return longest if total is None else min(longest, _UNEVEN * int(total) // count + 1)


def _length(stats: object) -> int:
    found = stats.get("max_string_length") if isinstance(stats, dict) else None
    return int(found) if found is not None else 0


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
