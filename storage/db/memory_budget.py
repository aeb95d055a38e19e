"""How much memory and how many cores DuckDB may use to read a workspace.

DuckDB reads texts in vectors of 2,048, whatever their length, and holds several vectors for each
working core. Memory that is plenty for short documents may be too little to read long ones.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

_VECTOR_ROWS = 2_048
_VECTORS_PER_CORE = 10
"""Vectors that DuckDB holds for a core at once; measured with the queries that hold most."""
_LONGEST_TO_AVERAGE = 4
"""Assumed bound for the longest text of a stretch, as a multiple of the stretch's average."""
_TEXT_COLUMNS = (("history", "state"), ("parts", "state"), ("events", "data"))


@dataclass(frozen=True)
class MemoryBudget:
    """How much memory and how many cores a connection may use."""

    memory_bytes: int
    cores: int | None = None
    """None: all cores."""


def compute_budget(connection: duckdb.DuckDBPyConnection, requested: MemoryBudget) -> MemoryBudget:
    """Return the budget for a workspace: `requested`, or more memory and fewer cores if its texts are long.

    The workspace must already be validated. The memory never exceeds half of the machine's, unless
    `requested` does.
    """
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
    """Estimate the length of the longest text of each table, in bytes."""
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
    """Estimate from the statistics of each segment, because one long text doesn't mean that all are."""
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
