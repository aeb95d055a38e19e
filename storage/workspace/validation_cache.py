"""Which workspaces were validated, and which ones refold itself made here, until somebody else writes them.

Validation takes longer than all else in opening a workspace, so it is done once. A file is the same
as long as the system says so: where it lies on the disk, its size, and its times, of which nobody can
set the one of its last change. It is another one as soon as anybody else has written into it; what
refold writes leaves it known.

A file is the user's own if refold made it here, or if the user agreed to it. Only then does refold
look at the files that it names: its sources, and the code of its projections.
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
from storage.db.duckdb_errors import translate_error
from storage.errors import WorkspaceError
from storage.workspace import content, schema, validation

_MAX_FILES = 500
"""Files that are remembered, the latest ones."""
_LIMIT_BYTES = 16 << 20


class Remembered(msgspec.Struct, frozen=True):
    """What is remembered of a file."""

    state: list[int]
    """What the system said of it when it was validated; see `_state`."""
    version: list[Any]
    """Which refold and which DuckDB validated it: another one may have another opinion."""
    own: bool = False
    written: list[int] = []
    """Where it lies on the disk, while refold writes into it; a refold that was killed leaves this."""


_by_path: dict[str, Remembered] = {}
"""What this process remembers, where nothing can be kept."""


def validate_once(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise `WorkspaceError` where the file is too new, too old, or holds anything foreign."""
    if not is_validated(path):
        own, before = is_own(path), _file_identity(path)
        _validate(connection, path)
        # DuckDB gives a file that this process has open again, even if another one took its place.
        if _file_identity(path) == before and _is_open(path):
            mark_validated(path, own=own)


def is_validated(path: Path) -> bool:
    """Whether the file is one that was validated, and hasn't changed since."""
    identity = _file_identity(path)
    return identity is not None and any(
        found.state == identity and found.version == _version() for found in _found(path)
    )


def is_own(path: Path) -> bool:
    """Whether refold made the file here, or the user agreed to it, and nobody else wrote into it."""
    now = _file_identity(path)
    return now is not None and any(
        found.own and (found.state == now or found.written == now[:2]) for found in _found(path)
    )


def mark_validated(path: Path, *, own: bool) -> None:
    """The file was validated, or refold has written into one that was."""
    identity = _file_identity(path)
    if identity is not None:
        _keep(path, Remembered(identity, _version(), own))


def remember_writing(path: Path, file: Path) -> None:
    """refold begins to write; if it is killed, a file of the user's own stays that.

    `file` takes the place at `path` when it is written; it may lie there already.
    """
    now = _file_identity(file)
    if now is not None:
        before = next(iter(_found(path)), Remembered([], []))
        _keep(path, Remembered(before.state, before.version, own=True, written=now[:2]))


def _found(path: Path) -> Iterator[Remembered]:
    name = str(path.absolute())
    if name in _by_path:
        yield _by_path[name]
    kept = _read_cache()
    if name in kept:
        yield kept[name]


def _is_open(path: Path) -> bool:
    """Whether this process has the file open that now lies at the path."""
    wanted = path.stat()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - only the numbers are needed
        with suppress(OSError, ValueError):
            status = os.fstat(int(name))
            if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


def _keep(path: Path, one: Remembered) -> None:
    name = str(path.absolute())
    _by_path[name] = one
    place = _cache_path()
    unfinished = place.with_name(f"{place.name}.{os.getpid()}")
    with suppress(OSError), _locked(place):  # else it is validated again
        files = _read_cache()
        files.pop(name, None)
        files[name] = one
        unfinished.write_bytes(msgspec.json.encode(dict(list(files.items())[-_MAX_FILES:])))
        unfinished.replace(place)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Two processes that write at once lose nothing of each other."""
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cache_path() -> Path:
    return config_dir.cache_folder() / "looked-through.json"


def _read_cache() -> dict[str, Remembered]:
    try:
        kept = regular_file.read_bytes(_cache_path(), _LIMIT_BYTES)
        return msgspec.json.decode(kept, type=dict[str, Remembered])
    except (OSError, ValueError, RecursionError):
        return {}


def _version() -> list[Any]:
    return [schema.FORMAT_VERSION, content.VERSION, duckdb.__version__]


def _file_identity(path: Path) -> list[int] | None:
    """What tells the file from any other, and from itself before; None where it isn't there.

    It begins with where the file lies on the disk.
    """
    identity: list[int] = []
    try:
        for file in (path, Path(f"{path}.wal")):
            if file == path or file.exists():
                found = file.stat()
                identity += [found.st_dev, found.st_ino, found.st_size]
                identity += [found.st_mtime_ns, found.st_ctime_ns]
    except OSError:
        return None
    return identity


def _validate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        version = read_format_version(connection)
        if isinstance(version, int) and version > schema.FORMAT_VERSION:
            raise WorkspaceError(
                f"{path} was written by a newer refold (format {version}, this one knows"
                f" {schema.FORMAT_VERSION}); update refold to open it."
            )
        if isinstance(version, int) and version < schema.FORMAT_VERSION:
            raise WorkspaceError(
                f"{path} was written by an older refold (format {version}, this one writes"
                f" {schema.FORMAT_VERSION}); `refold migrate {path}` brings it to this one."
            )
        strange = validation.find_foreign_object(connection)
        invalid = content.find_invalid(connection) if strange is None else None
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
    """The file's format, asked without an operator or a function that a stranger could define."""
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
