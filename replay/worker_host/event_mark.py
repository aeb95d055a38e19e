"""The mark in shared memory that says which event a worker is at, so that a hang can be named.

The worker writes it and this side reads it. The worker can't change its size, so that reading never
fails, and nothing that it writes makes the page larger.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Iterator

_NUMBER = struct.Struct("q")


class EventMark:
    """The offset of the event that a worker is at; negative before the first."""

    def __init__(self, first: int) -> None:
        """`first` is what it says until the worker writes it."""
        self._is_sealed = sys.platform.startswith("linux")
        if self._is_sealed:
            self._descriptor = os.memfd_create("refold", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())
        os.ftruncate(self._descriptor, mmap.PAGESIZE)
        os.pwrite(self._descriptor, _NUMBER.pack(first), 0)
        self._last = first
        if self._is_sealed:
            seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, seals)

    @contextlib.contextmanager
    def shared(self) -> Iterator[int]:
        """Give the descriptor to hand to the worker, while it is started."""
        yield self._descriptor

    @property
    def offset(self) -> int:
        """Read it; where a system has no seals and the worker cut the file, the last known."""
        text = os.pread(self._descriptor, _NUMBER.size, 0)
        if len(text) == _NUMBER.size:
            (self._last,) = _NUMBER.unpack(text)
        return self._last

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)
