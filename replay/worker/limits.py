"""How much memory a worker may take, so that a fold that grows without end costs a message only.

What the operating system counts is data that is this process's own; files that are mapped, such as
libraries, are not.
"""

from __future__ import annotations

import sys

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]


def limit(memory: int) -> None:
    """Refuse to take more than so many bytes; a `MemoryError` tells it."""
    if resource is None:
        return
    kind = resource.RLIMIT_DATA if sys.platform.startswith("linux") else resource.RLIMIT_AS
    hard = resource.getrlimit(kind)[1]
    wanted = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(kind, (wanted, hard))
