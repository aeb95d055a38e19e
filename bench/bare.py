"""The bare loop, the baseline of folds: it runs on one core, stores nothing and reports nothing.

It reads the columns and passes each event to a function. Like the worker, it stops the garbage
collector from walking through all documents repeatedly.
"""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from bench.measured import print_figures, seconds


def loop(workspace: Path, columns: str, handle: Callable[..., Any], **figures: object) -> None:
    """Call `handle` with these columns of each event, print the seconds, and exit."""
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
    print_figures(seconds=seconds(through), **figures)
    sys.stdout.flush()
    # Skip the end of the interpreter: DuckDB's bindings complain there about frozen objects.
    os._exit(0)
