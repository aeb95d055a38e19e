"""Cache of validated workspaces, because validation dominates the time to open one.

A file counts as unchanged while its device, inode, size and times are the same; no program can set the
change time (ctime). When another program writes into a file, its entry is no longer valid. When refold
writes, it updates the entry.

The cache also records which files are the user's own: created here by refold, or accepted by the
user. Only for these does refold read the files that a workspace names: sources and projection code.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from storage import config_dir, regular_file
from storage.atomic_write import write_atomically
from storage.db.duckdb_errors import translate_error
from storage.errors import WorkspaceError
from storage.workspace import cell_validation, schema, validation

_MAX_FILES = 500
"""Most files in the cache; the oldest entries are dropped."""
_LIMIT_BYTES = 16 << 20


FileIdentity = list[int]
"""Device, inode, size and times of a file, and of its write-ahead log if it has one."""
_CTIME = 4
"""Index of the file's time of change in its identity."""


class Remembered(msgspec.Struct, frozen=True):
    """A cache entry for one file."""

    state: FileIdentity
    """The file's identity when it was validated; see `read_identity`."""
    version: list[Any]
    """The versions of the format, the rules and DuckDB that validated it; others validate again."""
    own: bool = False
    """Whether the file is the user's own."""
    written: list[int] = []
    """Device and inode of the file while refold writes it; remains if that process is killed."""


_by_path: dict[str, Remembered] = {}
"""Entries of this process, for when the cache file can't be written."""


def validate_once(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Validate a file unless it was validated before.

    Raises `WorkspaceError` if its format is too new or too old, or if it has foreign or invalid content.
    """
    if not is_validated(path):
        own, before = is_own(path), read_identity(path)
        _validate(connection, path)
        # DuckDB returns the file that this process already has open, even if it was replaced on disk.
        if before is not None and read_identity(path) == before and _is_open(path):
            mark_validated(path, before, own=own)


def is_validated(path: Path) -> bool:
    """Return whether the file was validated and hasn't changed since."""
    identity = read_identity(path)
    return identity is not None and any(
        entry.state == identity and entry.version == _version() for entry in _entries(path)
    )


def is_own(path: Path) -> bool:
    """Return whether the file is the user's own and no other program wrote into it."""
    identity = read_identity(path)
    return identity is not None and any(
        entry.own and (entry.state == identity or entry.written == identity[:2])
        for entry in _entries(path)
    )


def mark_validated(path: Path, identity: FileIdentity, *, own: bool) -> None:
    """Record that the file was valid in the state of this identity, after a validation or a write.

    Read the identity while no other program can write into the file, or before the validation: a later
    one may be that of a file into which another program has written since.
    """
    _save_entry(path, Remembered(identity, _version(), own))


def mark_placed(path: Path, written: FileIdentity | None) -> None:
    """Record that the user's own file is valid, if it is still as it was written under another name."""
    placed = read_identity(path)
    if placed is None or written is None or len(placed) != len(written):
        return
    if placed[:_CTIME] == written[:_CTIME]:  # renaming a file changes only its ctime
        mark_validated(path, placed, own=True)


def remember_writing(path: Path, file: Path) -> None:
    """Record that refold begins to write the user's own file, which stays own if refold is killed.

    `file` is the file that will be at `path` after the write; it may be the one there now.
    """
    identity = read_identity(file)
    if identity is not None:
        before = next(iter(_entries(path)), Remembered([], []))
        _save_entry(path, Remembered(before.state, before.version, own=True, written=identity[:2]))


def _entries(path: Path) -> Iterator[Remembered]:
    name = str(path.absolute())
    if name in _by_path:
        yield _by_path[name]
    cached = _read_cache()
    if name in cached:
        yield cached[name]


def _is_open(path: Path) -> bool:
    """Return whether this process has the file open that is at the path now."""
    expected = path.stat()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - only the numbers are needed
        with suppress(OSError, ValueError):
            status = os.fstat(int(name))
            if (status.st_dev, status.st_ino) == (expected.st_dev, expected.st_ino):
                return True
    return False


def _save_entry(path: Path, entry: Remembered) -> None:
    name = str(path.absolute())
    _by_path[name] = entry
    cache_path = _cache_path()
    with suppress(OSError), _locked(cache_path):  # without an entry the file is validated again
        entries = _read_cache()
        entries.pop(name, None)
        entries[name] = entry
        content = msgspec.json.encode(dict(list(entries.items())[-_MAX_FILES:]))
        write_atomically(cache_path, content, is_private=True)


@contextmanager
def _locked(cache_path: Path) -> Iterator[None]:
    """Lock the cache file, so that two processes that write at once don't lose each other's entries."""
    cache_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{cache_path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cache_path() -> Path:
    return config_dir.cache_folder() / "looked-through.json"


def _read_cache() -> dict[str, Remembered]:
    try:
        text = regular_file.read_bytes(_cache_path(), _LIMIT_BYTES)
        return msgspec.json.decode(text, type=dict[str, Remembered])
    except (OSError, ValueError, RecursionError):
        return {}


def _version() -> list[Any]:
    return [schema.FORMAT_VERSION, cell_validation.VERSION, duckdb.__version__]


def read_identity(path: Path) -> FileIdentity | None:
    """Return device, inode, size and times of the file and its write-ahead log; None if it doesn't exist."""
    identity: list[int] = []
    try:
        for file in (path, Path(f"{path}.wal")):
            if file == path or file.exists():
                status = file.stat()
                identity += [status.st_dev, status.st_ino, status.st_size]
                identity += [status.st_mtime_ns, status.st_ctime_ns]
    except OSError:
        return None
    return identity


def _validate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        version = read_format_version(connection)
        if isinstance(version, int) and version > schema.FORMAT_VERSION:
            raise WorkspaceError(
                f"{path} was written by a newer refold (format {version}; this refold reads up to"
                f" {schema.FORMAT_VERSION}); update refold to open it."
            )
        if isinstance(version, int) and version < schema.FORMAT_VERSION:
            raise WorkspaceError(
                f"{path} was written by an older refold (format {version}; this refold needs"
                f" {schema.FORMAT_VERSION}); run `refold migrate {path}` first."
            )
        strange = validation.find_foreign_object(connection)
        invalid = cell_validation.find_invalid(connection) if strange is None else None
    except duckdb.Error as error:
        raise translate_error(error, path) from error
    if strange is not None:
        raise WorkspaceError(f"{path} is refused as a workspace: {strange}.")
    if invalid is not None:
        raise WorkspaceError(
            f"{path} is refused as a workspace: {invalid}. Restore a copy, or load its source again"
            " with --replace."
        )


def read_format_version(connection: duckdb.DuckDBPyConnection) -> object:
    """Return the format version of a file, or None if it has none.

    The queries use no operator or function that a stranger's file could override.
    """
    tables = connection.execute("SELECT table_name FROM system.main.duckdb_tables()").fetchall()
    if ("workspace",) not in tables:
        return None
    for row in connection.execute("SELECT * FROM main.workspace").fetchall():
        if row[:1] == ("format_version",):
            try:
                return json.loads(row[1])
            except (TypeError, ValueError, RecursionError):
                return None
    return None
