"""Opens a workspace file, and waits while another connection has it locked."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage.db.duckdb_errors import translate_error
from storage.db.locked_connection import (
    FileInUseError,
    LockedConnection,
    count_releases,
    wait_for_release,
)
from storage.db.memory_budget import MemoryBudget
from storage.errors import WorkspaceBusyError

_FIRST_PAUSE_SECONDS = 0.004
_MAX_PAUSE_SECONDS = 0.1
"""The pauses between two tries double up to this, while another process has the file locked."""
_NOTIFIED_PAUSE_SECONDS = 1.0
"""The pause while this process has the file locked, because its release ends the pause."""

OnWait = Callable[[str], None]
"""Called once, with the process that holds the file, when opening has to wait."""


class LockWait:
    """The pauses between the tries to lock a file, until the time to wait is over."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._next_pause = _FIRST_PAUSE_SECONDS

    def pause(self, in_use: FileInUseError, releases: int) -> bool:
        """Wait for the next try, and return whether there is time for one.

        `releases` is the count of this process's releases before the last try.
        """
        remaining = self._deadline - time.monotonic()
        if remaining < 0:
            return False
        pause = _NOTIFIED_PAUSE_SECONDS if in_use.is_this_process else self._next_pause
        wait_for_release(releases, min(pause, remaining))
        self._next_pause = min(2 * self._next_pause, _MAX_PAUSE_SECONDS)
        return True


@dataclass(frozen=True)
class FileOpener:
    """Opens one file, and waits at most `wait_seconds` for it."""

    path: Path
    wait_seconds: float
    on_wait: OnWait | None = None

    def open(self, *, read_only: bool, budget: MemoryBudget) -> LockedConnection:
        """Open the file; raises `WorkspaceBusyError` if another connection keeps it locked."""
        lock_wait, is_reported = LockWait(self.wait_seconds), False
        while True:
            before, releases = self._file_id(), count_releases()
            try:
                opened = LockedConnection(self.path, read_only=read_only, budget=budget)
            except FileInUseError as error:
                in_use = error
            except duckdb.Error as error:
                raise translate_error(error, self.path) from error
            else:
                if read_only or before == self._file_id():
                    return opened
                # Another process replaced the file before this one had the lock.
                opened.close()
                continue
            if not is_reported and self.on_wait is not None:
                self.on_wait(in_use.holder)
                is_reported = True
            if not lock_wait.pause(in_use, releases):
                raise self.busy_error(in_use.holder)

    def busy_error(self, holder: str) -> WorkspaceBusyError:
        """Return the error that the file stayed locked."""
        return WorkspaceBusyError(
            f"{self.path} is still in use by {holder} after {self.wait_seconds:g} s;"
            " try again later or give --wait more seconds."
        )

    def _file_id(self) -> object:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
