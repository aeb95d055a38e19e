"""Opens a workspace file under a lock of refold's own, held until the connection is closed.

DuckDB 2.0 reads a file's header before it locks the file. A process that opens the file while another
one ends a write can therefore get the header from before that write, and its own write then undoes the
other one. This lock is taken before DuckDB opens the file, and a writer keeps it until DuckDB has closed
the file. It is a lock of the open file (flock), which doesn't touch DuckDB's own locks (fcntl).
"""

import errno
import fcntl
import os
import struct
import sys
import threading
import weakref
from collections import Counter
from pathlib import Path

import duckdb

from storage.db.duckdb_errors import describe_holder, find_lock_holder
from storage.db.isolated_connection import connect_isolated
from storage.db.memory_budget import MemoryBudget

_THIS_PROCESS = "this process"
_UNSUPPORTED = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems on which these locks don't work; DuckDB's lock must do there."""
_LINUX_FORMAT, _BSD_FORMAT = "hhqqi4x", "qqihh"
"""Layouts of `struct flock`: type, whence, start, length, process; start, length, process, type, whence."""
_locked_here: Counter[tuple[int, int]] = Counter()
"""How many locks this process holds, by device and inode of the file."""
_counter_lock = threading.Condition()
_release_count = 0
"""How many locks this process has released."""


class FileInUseError(Exception):
    """Another connection has the file locked; `holder` says whose it is."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    @property
    def is_this_process(self) -> bool:
        """Whether another connection of this process has the file locked."""
        return self.holder == _THIS_PROCESS


def count_releases() -> int:
    """Return how many connections this process has closed so far, for `wait_for_release`."""
    return _release_count


def wait_for_release(since: int, timeout_seconds: float) -> None:
    """Wait until this process has released a lock since the count `since`, or until the time is over."""
    with _counter_lock:
        _counter_lock.wait_for(lambda: _release_count != since, timeout_seconds)


class LockedConnection:
    """A DuckDB connection to a file, and the lock that is released after it is closed."""

    def __init__(self, path: Path, *, read_only: bool, budget: MemoryBudget) -> None:
        """Open the file; raises `FileInUseError` if it is locked, and DuckDB's error if it can't be opened."""
        file_lock = _FileLock(path, exclusive=not read_only)
        try:
            self.connection = connect_isolated(path, read_only=read_only, budget=budget)
        except duckdb.Error as error:
            file_lock.release()
            holder = find_lock_holder(error)
            if holder is None:
                raise
            raise FileInUseError(holder) from error
        except BaseException:
            file_lock.release()
            raise
        # An object that nobody closed is closed when it is no longer referenced.
        self._close = weakref.finalize(self, _close, self.connection, file_lock)

    def close(self) -> None:
        """Close the connection, then release the lock."""
        self._close()


def _close(connection: duckdb.DuckDBPyConnection, file_lock: "_FileLock") -> None:
    try:
        connection.close()
    finally:
        file_lock.release()
        _count_release()


def _count_release() -> None:
    """Wake the threads that wait for a release. A try that failed has held nothing back."""
    global _release_count  # noqa: PLW0603 - a fact about the process, as are its locks
    with _counter_lock:
        _release_count += 1
        _counter_lock.notify_all()


class _FileLock:
    """A shared or exclusive lock of the file at a path; no lock if there is no file or no support for it."""

    def __init__(self, path: Path, *, exclusive: bool) -> None:
        self._descriptor: int | None = None
        self._file_id = (0, 0)
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:  # DuckDB says why it can't be opened
                return
            try:
                if not _lock(descriptor, exclusive=exclusive):
                    raise FileInUseError(_find_holder(descriptor, exclusive=exclusive))
                # Another process may have replaced the file before it was locked.
                if _is_file_at(path, descriptor):
                    self._keep(descriptor)
                    return
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _keep(self, descriptor: int) -> None:
        self._descriptor, self._file_id = descriptor, _file_id(descriptor)
        with _counter_lock:
            _locked_here[self._file_id] += 1

    def release(self) -> None:
        if self._descriptor is not None:
            with _counter_lock:
                _locked_here[self._file_id] -= 1
                if not _locked_here[self._file_id]:
                    del _locked_here[self._file_id]
                os.close(self._descriptor)
                self._descriptor = None


def _lock(descriptor: int, *, exclusive: bool) -> bool:
    """Lock the open file without waiting, and return whether that was possible."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _find_holder(descriptor: int, *, exclusive: bool) -> str:
    """Describe the process that has the file open, by the lock that DuckDB has set on it."""
    if _file_id(descriptor) in _locked_here:
        return _THIS_PROCESS
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    is_linux = sys.platform == "linux"
    fields = (kind, os.SEEK_SET, 0, 0, 0) if is_linux else (0, 0, 0, kind, os.SEEK_SET)
    layout = _LINUX_FORMAT if is_linux else _BSD_FORMAT
    try:
        answer = struct.unpack(
            layout, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(layout, *fields))
        )
    except OSError:
        return describe_holder(None)
    found, process = (answer[0], answer[4]) if is_linux else (answer[3], answer[2])
    return describe_holder(None if found == fcntl.F_UNLCK else process)


def _file_id(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _is_file_at(path: Path, descriptor: int) -> bool:
    try:
        status = path.stat()
    except OSError:  # a file that was moved away stays open
        return True
    return (status.st_dev, status.st_ino) == _file_id(descriptor)
