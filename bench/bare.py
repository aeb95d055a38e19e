"""The bare loop that folds are measured against: one core, nothing kept, nothing told.

It reads the columns and gives each event to a function; like the worker, it keeps the garbage
collector from walking through all documents again and again.
"""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from bench.measured import seconds, tell


def loop(workspace: Path, columns: str, handle: Callable[..., Any], **figures: object) -> None:
    """Call `handle` with these columns of each event, and tell how long it took."""
    connection = duckdb.connect(str(workspace), read_only=True)

    def through() -> None:
        relation = connection.sql(f'SELECT {columns} FROM events ORDER BY "offset"')
        gc.disable()
        for batch in relation.to_arrow_reader(32_768):
            for event in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                handle(*event)
            gc.collect(0)
            gc.freeze()

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    tell(seconds=seconds(through), **figures)
    sys.stdout.flush()
    # Frozen objects outlive the interpreter's end, about which DuckDB's bindings complain.
    os._exit(0)
