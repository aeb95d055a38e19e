"""Bounds the memory that this process takes during a query, beyond DuckDB's own limit.

DuckDB's limit doesn't count the texts that a function returns: `repeat('x', 3000000000)` takes 3 GB.
Linux refuses the memory, and DuckDB then ends the query with an error. Other systems have no such limit.
"""

import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_lock = threading.Lock()
_active: list[int] = []
"""The limits of the queries that run at this moment."""
_before: list[tuple[int, int]] = []
"""The process's own limit while queries run."""


@contextmanager
def memory_ceiling(more_bytes: int) -> Iterator[None]:
    """Let this process take at most so many bytes more; queries at the same time share the highest limit."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with _lock:
        if not _active:
            _before.append(resource.getrlimit(resource.RLIMIT_DATA))
        limit = _data_bytes() + more_bytes
        _active.append(limit)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _active.remove(limit)
            _apply()
            if not _active:
                _before.clear()


def _apply() -> None:
    soft, hard = _before[0]
    known = [one for one in (soft, hard) if one != resource.RLIM_INFINITY]
    wanted = min([max(_active), *known]) if _active else soft
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _data_bytes() -> int:
    """Return the size of this process's private writable memory, which the limit counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0
