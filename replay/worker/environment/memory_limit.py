"""Limits and measures a worker's memory, so a fold that grows without end stops with a message.

The operating system counts the private data of this process, but not mapped files such as libraries.
On Linux the parent watches what this limit doesn't count (`process_memory`).
"""

from __future__ import annotations

import os
import sys

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]


def limit_memory(limit_bytes: int) -> None:
    """Limit this process's memory permanently; beyond the limit Python raises `MemoryError`.

    Does nothing if the launcher has already set such a limit, which can't be changed.
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
    """Raise `MemoryError` if this many bytes can't be allocated.

    Call it before encoding something large, because msgspec 0.22 crashes when memory runs out.
    """
    bytearray(size_bytes)


def measure_memory() -> int:
    """Return this process's resident memory in bytes, on Linux; elsewhere its peak, or 0 if unknown.

    The peak has the unit of `getrusage` on that system.
    """
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
