"""Writes a workspace under a temporary name and renames it only when it is complete."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from storage import abandoned_files
from storage.atomic_write import link_into_place
from storage.db.duckdb_errors import translate_error
from storage.db.isolated_connection import connect_isolated
from storage.db.locked_connection import FileInUseError, LockedConnection, count_releases
from storage.errors import StaleError, WorkspaceError
from storage.workspace import new_workspace, validation_cache, workspace_file
from storage.workspace.file_opening import FileOpener, LockWait

Placing = Callable[[Path, Path], None]
"""Moves a finished file to its target."""


def place_new(unfinished: Path, target: Path) -> None:
    """Move a new workspace to its target; raises `StaleError` if another process created the target first."""
    if not target.exists():  # a write-ahead log without a workspace remains from a removed one
        Path(f"{target}.wal").unlink(missing_ok=True)
    try:
        link_into_place(unfinished, target)
    except FileExistsError as error:
        raise StaleError(
            f"{target} was created by another refold process meanwhile; run this again to add to it."
        ) from error


def place_over(unfinished: Path, target: Path) -> None:
    """Replace a workspace that the caller has locked, or that no other process can open."""
    _merge_write_ahead_log(target)
    unfinished.replace(target)


def place_over_unlocked(wait: float) -> Placing:
    """Return a `Placing` that replaces a workspace when no process uses it; waits up to `wait` seconds."""

    def place(unfinished: Path, target: Path) -> None:
        with _locked(target, wait):
            place_over(unfinished, target)

    return place


@contextmanager
def _locked(target: Path, wait: float) -> Iterator[None]:
    """Keep other processes from writing the target; a file that DuckDB can't open has no writers."""
    lock_wait = LockWait(wait)
    opened = None
    while opened is None and target.exists():
        releases = count_releases()
        try:
            opened = LockedConnection(target, read_only=False, budget=workspace_file.WRITE_BUDGET)
            # DuckDB would apply a write-ahead log that stays beside the target to the new file.
            opened.connection.execute("CHECKPOINT")
        except FileInUseError as error:
            if not lock_wait.pause(error, releases):
                raise FileOpener(target, wait).busy_error(error.holder) from error
        except duckdb.Error:
            break
    try:
        yield
    finally:
        if opened is not None:
            opened.close()


@contextmanager
def replace_atomically(
    target: Path, place: Placing, *, own: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a new workspace that replaces the target on success and is deleted on failure.

    `place` moves it to the target and may raise `StaleError`; pass one of the functions above. Pass
    `own=False` if the content is copied from a file that isn't the user's own; the result is then
    validated when it is opened. Raises `WorkspaceError` if the folder can't be written.
    """
    _remove_abandoned_files(target)
    unfinished = target.with_name(f"{target.name}.loading-{os.getpid()}")
    if not os.access(target.parent, os.W_OK):
        raise WorkspaceError(
            f"{target.parent} can't be written; name a file in another folder with -o."
        )
    try:
        try:
            with new_workspace.create_workspace(unfinished) as connection:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
                # Closing would checkpoint too, but it ignores a failure such as a full disk.
                connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise translate_error(error, target) from error
        if own:
            validation_cache.remember_writing(target, unfinished)
        written = validation_cache.read_identity(unfinished)
        place(unfinished, target)
        if own:
            validation_cache.mark_placed(target, written)
    finally:
        _remove_database(unfinished)


def _merge_write_ahead_log(target: Path) -> None:
    """Merge a write-ahead log that a crash left into the file that is about to be replaced.

    DuckDB would apply the log to the new file if it stayed, and deleting it alone would lose commits.
    """
    log = Path(f"{target}.wal")
    if log.exists():
        # The caller may have it open already, which DuckDB's cache of open files then returns.
        with contextlib.suppress(duckdb.Error):
            connect_isolated(target, read_only=False, budget=workspace_file.WRITE_BUDGET).close()
        log.unlink(missing_ok=True)


def _remove_abandoned_files(target: Path) -> None:
    """Remove files that a killed load left beside the target."""
    for abandoned in abandoned_files.find_abandoned(target.parent, f"{target.name}.loading-"):
        _remove_database(abandoned.with_name(re.sub(r"(\.wal|\.tmp)$", "", abandoned.name)))


def _remove_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}.wal").unlink(missing_ok=True)
    shutil.rmtree(f"{path}.tmp", ignore_errors=True)


def check_is_replaceable(target: Path) -> None:
    """Raise `WorkspaceError` if the target exists and isn't a DuckDB file: it may be the source itself."""
    if not target.exists():
        return
    if not target.is_file():
        raise WorkspaceError(f"{target} is not a file; name another file with -o.")
    with target.open("rb") as stream:
        head = stream.read(12)
    if head and head[8:12] != b"DUCK":
        raise WorkspaceError(
            f"{target} is not a workspace, so it is not replaced; name another file with -o."
        )
