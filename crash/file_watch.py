"""Detects with inotify that a file is opened, for paths and code that refold must not touch."""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_OPENED = 0x20
_NONBLOCK = 0o4000
_EVENT = struct.Struct("iIII")


class FileWatch:
    """Records which files are opened; use it as a context manager."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._paths = list(paths)
        self._names: dict[int, Path] = {}

    def __enter__(self) -> "FileWatch":
        self._descriptor = self._libc.inotify_init1(_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")
        for path in self._paths:
            number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _OPENED)
            if number < 0:
                raise OSError(ctypes.get_errno(), f"{path} can't be watched")
            self._names[number] = path
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def opened(self) -> set[Path]:
        """Return the files that were opened since the last call."""
        found: set[Path] = set()
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, _, _, length = _EVENT.unpack_from(data, at)
                found.add(self._names[number])
                at += _EVENT.size + length
