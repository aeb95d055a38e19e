"""A workspace that is written under another name, and takes its place only when it is whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from storage.db.connect import connect
from storage.db.duckdb_errors import trouble
from storage.errors import WorkspaceError
from storage.workspace import validation_cache, workspace


@contextmanager
def new_file(target: Path, *, own: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a workspace that takes the target's place if all goes well, else vanishes.

    What is written is `own` unless it is copied from a file that isn't the user's own: it is
    validated then when it is opened.
    """
    _sweep(target)
    unfinished = target.with_name(f"{target.name}.loading-{os.getpid()}")
    if not os.access(target.parent, os.W_OK):
        raise WorkspaceError(f"{target.parent} can't be written; name another place with -o.")
    try:
        try:
            with workspace.created(unfinished) as connection:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
                # Closing would do it too, but silently leave it undone where there is no room.
                connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise trouble(error, target) from error
        _without_log(target)
        if own:
            validation_cache.remember_writing(target, unfinished)
        unfinished.replace(target)
        if own:
            validation_cache.remember(target, own=True)
    finally:
        _remove(unfinished)


def _without_log(target: Path) -> None:
    """Take the write-ahead log that a crash left into the file that is about to be replaced.

    Beside the new file it would be a stranger's, and removed alone it would take commits with it.
    """
    log = Path(f"{target}.wal")
    if log.exists():
        with contextlib.suppress(duckdb.Error):
            connect(target, read_only=False, allowance=workspace.WRITE).close()
        log.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what a load that was killed left beside the target."""
    for left in target.parent.glob(f"{target.name}.loading-*"):
        pid = left.name.rsplit("-", 1)[1].split(".", 1)[0]
        if pid.isdigit() and int(pid) != os.getpid() and not _is_running(int(pid)):
            _remove(target.with_name(f"{target.name}.loading-{pid}"))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}.wal").unlink(missing_ok=True)
    shutil.rmtree(f"{path}.tmp", ignore_errors=True)


def refuse_to_replace(target: Path) -> None:
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
