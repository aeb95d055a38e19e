"""What DuckDB may take for an answer out of a workspace: memory, and cores.

It reads texts 2,048 at a time, however long they are, and holds several such vectors for each core
that works. What is plenty for short documents wouldn't let it read one of the longest.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

_VECTOR_ROWS = 2_048
_VECTORS_PER_CORE = 10
"""Vectors that are held for a core at once; measured, with the questions that hold most."""
_LONGEST_TO_AVERAGE = 4
"""Texts that lie near one another are so many times longer than their average at most."""
_TEXT_COLUMNS = (("history", "state"), ("parts", "state"), ("events", "data"))


@dataclass(frozen=True)
class MemoryBudget:
    """What a connection may take."""

    memory_bytes: int
    """Bytes."""
    cores: int | None = None
    """None: all."""


def compute_budget(connection: duckdb.DuckDBPyConnection, requested: MemoryBudget) -> MemoryBudget:
    """What is needed where so much is asked for, in a workspace that is known to be refold's: more
    memory where its texts are long, and fewer cores."""
    needed_bytes = max(
        1,
        *(
            _VECTORS_PER_CORE * _VECTOR_ROWS * longest
            for longest in _estimate_longest_texts(connection, requested.memory_bytes)
        ),
    )
    memory = max(requested.memory_bytes, min(needed_bytes, _machine_memory_bytes() // 2))
    cores = max(1, memory // needed_bytes)
    return MemoryBudget(
        memory, cores if cores < (requested.cores or os.cpu_count() or 1) else requested.cores
    )


def _estimate_longest_texts(
    connection: duckdb.DuckDBPyConnection, requested_bytes: int
) -> Iterable[int]:
    """About how long the longest texts of each table are, in bytes."""
    for table, column in _TEXT_COLUMNS:
        try:
            found = connection.execute(f"SELECT stats({column}) FROM main.{table} LIMIT 1")
            longest = max((_max_text_length(stats) for (stats,) in found.fetchall()), default=0)
        except duckdb.OutOfMemoryException:
            longest = requested_bytes
        if _VECTORS_PER_CORE * _VECTOR_ROWS * longest > requested_bytes:
            longest = _estimate_longest_by_stretch(connection, table, column)
        yield longest


def _estimate_longest_by_stretch(
    connection: duckdb.DuckDBPyConnection, table: str, column: str
) -> int:
    """As the file tells of each stretch of a column: one long text says nothing of all others."""
    found = connection.execute(
        "SELECT stats, count FROM pragma_storage_info(?) WHERE column_name = ?"
        " AND segment_type = 'VARCHAR' AND count > 0",
        [table, column],
    ).fetchall()
    return max((_estimate_longest_in_stretch(stats, count) for stats, count in found), default=0)


def _estimate_longest_in_stretch(stats: object, count: int) -> int:
    longest = _max_text_length(stats)
    total = stats.get("total_string_length") if isinstance(stats, dict) else None
    return longest if total is None else min(longest, _LONGEST_TO_AVERAGE * int(total) // count + 1)


def _max_text_length(stats: object) -> int:
    found = stats.get("max_string_length") if isinstance(stats, dict) else None
    return int(found) if found is not None else 0


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
