"""How much memory a worker may take, so that a fold that grows without end costs a message only.

What the operating system counts is data that is this process's own; files that are mapped, such as
libraries, are not. On Linux the parent watches what this limit doesn't count (`process_memory`).
"""

from __future__ import annotations

import os
import sys

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]


def limit_memory(limit_bytes: int) -> None:
    """Refuse to take more than so many bytes, for good; a `MemoryError` tells it.

    Does nothing where the launcher has set such a limit, which can't be changed any more.
    """
    if resource is None:
        return
    kind = resource.RLIMIT_DATA if sys.platform.startswith("linux") else resource.RLIMIT_AS
    soft, hard = resource.getrlimit(kind)
    if resource.RLIM_INFINITY not in (soft, hard) and max(soft, hard) <= limit_bytes:
        return
    soft_limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(kind, (soft_limit, soft_limit))


def require_memory(size_bytes: int) -> None:
    """Raise `MemoryError` where so many bytes can't be taken.

    To be asked before something large is encoded: msgspec 0.22 crashes where it finds no room.
    """
    bytearray(size_bytes)


def measure_memory() -> int:
    """Bytes of memory that this process has, or has had at most where nobody knows better."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
