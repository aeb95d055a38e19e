"""Isolated DuckDB connections: no other files, no extensions, no changes of settings."""

import threading
from pathlib import Path

import duckdb

from storage.db.memory_budget import MemoryBudget

_CONNECT_LOCK = threading.Lock()


def connect_isolated(
    path: Path, *, read_only: bool, budget: MemoryBudget
) -> duckdb.DuckDBPyConnection:
    """Open the file; DuckDB's own error passes through if it can't be opened."""
    # One at a time: the settings of a process's first connection are locked for the next one.
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
        if locked != (True,):  # True if this process already has the file open with these settings
            # GLOBAL, because each cursor has its own session settings.
            connection.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
    return connection
