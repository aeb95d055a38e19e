"""A file opened with no way out of it: no other files, no extensions, no changed settings."""

import threading
from pathlib import Path

import duckdb

from storage.db.memory_budget import MemoryBudget

_CONNECT_LOCK = threading.Lock()


def connect_isolated(
    path: Path, *, read_only: bool, budget: MemoryBudget
) -> duckdb.DuckDBPyConnection:
    """Open the file; raises what DuckDB does where it can't be had."""
    # One at a time: what is set for the first connection of a process is locked for the next.
    with _CONNECT_LOCK:
        connection = duckdb.connect(
            str(path),
            read_only=read_only,
            config={
                "memory_limit": f"{budget.memory_bytes}B",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "lock_configuration": False,
                **({} if budget.cores is None else {"threads": budget.cores}),
            },
        )
        locked = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
        if locked != (True,):  # else this process has the file open already, set in the same way
            # Global, as a cursor has settings of its own.
            connection.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
    return connection
