"""A workspace that is written under another name, and takes its place only when it is whole."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from storage.db import duckdb_errors
from storage.db.duckdb_errors import translate_error
from storage.db.isolated_connection import connect_isolated
from storage.errors import StaleError, WorkspaceBusyError, WorkspaceError
from storage.workspace import validation_cache, workspace

Placing = Callable[[Path, Path], None]
"""Puts a finished file in its target's place."""
_POLL = 0.004
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""How file systems without hard links refuse one."""


def place_new(unfinished: Path, target: Path) -> None:
    """Give a workspace its name; raise `StaleError` when another process was the first to do so."""
    if not target.exists():  # a log without its workspace is left from one that was removed
        Path(f"{target}.wal").unlink(missing_ok=True)
    try:
        os.link(unfinished, target)
        unfinished.unlink()
    except FileExistsError as error:
        raise StaleError(
            f"{target} was made by another refold meanwhile; run this again to add to it."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise StaleError(f"{target} was made by another refold meanwhile.") from error
        unfinished.replace(target)


def place_over(unfinished: Path, target: Path) -> None:
    """Replace a workspace that the caller has locked, or that nobody else can open."""
    _merge_write_ahead_log(target)
    unfinished.replace(target)


def place_over_unlocked(wait: float) -> Placing:
    """Replace a workspace when no process writes it any more; `wait` is in seconds."""

    def place(unfinished: Path, target: Path) -> None:
        with _locked(target, wait):
            place_over(unfinished, target)

    return place


@contextmanager
def _locked(target: Path, wait: float) -> Iterator[None]:
    """Keep other processes from writing the target; one that can't be opened has no writers."""
    deadline = time.monotonic() + wait
    connection = None
    while connection is None and target.exists():
        try:
            connection = connect_isolated(target, read_only=False, budget=workspace.WRITE_BUDGET)
            connection.execute(
                "CHECKPOINT"
            )  # a log beside the file would be taken for the new one's
        except duckdb.Error as error:
            holder = duckdb_errors.find_lock_holder(error)
            if holder is None:
                break
            if time.monotonic() > deadline:
                raise WorkspaceBusyError(
                    f"{target} is still being used by {holder} after {wait:g} s; try again later or"
                    " give --wait more seconds."
                ) from error
            time.sleep(_POLL)
    try:
        yield
    finally:
        if connection is not None:
            connection.close()


@contextmanager
def replace_atomically(
    target: Path, place: Placing, *, own: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a workspace that takes the target's place if all goes well, else vanishes.

    `place` puts it there, and may raise `StaleError`; it is one of the functions above.

    What is written is `own` unless it is copied from a file that isn't the user's own: it is
    validated then when it is opened.
    """
    _remove_abandoned_files(target)
    unfinished = target.with_name(f"{target.name}.loading-{os.getpid()}")
    if not os.access(target.parent, os.W_OK):
        raise WorkspaceError(f"{target.parent} can't be written; name another place with -o.")
    try:
        try:
            with workspace.create_workspace(unfinished) as connection:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
                # Closing would do it too, but silently leave it undone where there is no room.
                connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise translate_error(error, target) from error
        if own:
            validation_cache.remember_writing(target, unfinished)
        place(unfinished, target)
        if own:
            validation_cache.mark_validated(target, own=True)
    finally:
        _remove_database(unfinished)


def _merge_write_ahead_log(target: Path) -> None:
    """Take the write-ahead log that a crash left into the file that is about to be replaced.

    Beside the new file it would be a stranger's, and removed alone it would take commits with it.
    """
    log = Path(f"{target}.wal")
    if log.exists():
        with contextlib.suppress(duckdb.Error):
            connect_isolated(target, read_only=False, budget=workspace.WRITE_BUDGET).close()
        log.unlink(missing_ok=True)


def _remove_abandoned_files(target: Path) -> None:
    """Remove what a load that was killed left beside the target."""
    for abandoned in target.parent.glob(f"{target.name}.loading-*"):
        pid = abandoned.name.rsplit("-", 1)[1].split(".", 1)[0]
        if pid.isdigit() and not _is_running(int(pid)):
            _remove_database(target.with_name(f"{target.name}.loading-{pid}"))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 is none; not every system has /proc
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's, or no process has such a number
        return True
    return True


def _remove_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}.wal").unlink(missing_ok=True)
    shutil.rmtree(f"{path}.tmp", ignore_errors=True)


def check_is_replaceable(target: Path) -> None:
    """What isn't a workspace is never written over: it may be the source itself."""
    if not target.exists():
        return
    if not target.is_file():
        raise WorkspaceError(f"{target} is no file; name another place with -o.")
    with target.open("rb") as stream:
        head = stream.read(12)
    if head and head[8:12] != b"DUCK":
        raise WorkspaceError(
            f"{target} is not a workspace and is not replaced; name another place with -o."
        )
