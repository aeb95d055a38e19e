"""The offset that a worker is at, in shared memory, so that refold can name the event of a hang.

The worker writes it and this side reads it. On Linux the worker can't change the memory's size, so
reading never fails and the memory can't grow.
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
    """The offset of the event that a worker is at; negative before the first event."""

    def __init__(self, first: int) -> None:
        """`first` is the value until the worker writes one."""
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
        """The descriptor to pass to the worker when it starts."""
        yield self._descriptor

    @property
    def offset(self) -> int:
        """The current offset; if the worker truncated the unsealed file, the last one known."""
        text = os.pread(self._descriptor, _NUMBER.size, 0)
        if len(text) == _NUMBER.size:
            (self._last,) = _NUMBER.unpack(text)
        return self._last

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)
