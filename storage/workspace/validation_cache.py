"""Workspaces that were looked through for foreign objects: that takes longer than all else in opening one.

A file is the same as long as the system says so: where it lies on the disk, its size, and its times, of
which nobody can set the one of its last change. It is another one as soon as anybody else has written
into it; what refold writes leaves it known.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from storage import config_dir
from storage.db.duckdb_errors import trouble
from storage.errors import WorkspaceError
from storage.workspace import schema, validation

_MOST = 500
"""Files that are remembered, the latest ones."""

_by_path: dict[str, Any] = {}
"""What this process remembers, where nothing can be kept."""


def look_through(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise `WorkspaceError` where the file is too new, too old, or holds anything foreign."""
    if not known(path):
        _look(connection, path)
        remember(path)


def known(path: Path) -> bool:
    """Whether the file is one that was looked through, and hasn't changed since."""
    name, now = str(path.absolute()), _state(path)
    return now is not None and (_by_path.get(name) == now or _kept().get(name) == now)


def remember(path: Path) -> None:
    """The file was looked through, or refold has written into one that was."""
    now = _state(path)
    if now is None:
        return
    name = str(path.absolute())
    _by_path[name] = now
    files = _kept()
    files.pop(name, None)
    files[name] = now
    place = _place()
    unfinished = place.with_name(f"{place.name}.{os.getpid()}")
    with suppress(OSError):  # then it is looked through again
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(dict(list(files.items())[-_MOST:])))
        unfinished.replace(place)


def _place() -> Path:
    return config_dir.cache() / "looked-through.json"


def _kept() -> dict[str, Any]:
    try:
        found = json.loads(_place().read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _state(path: Path) -> list[Any] | None:
    """What tells the file from any other, and from itself before; None where it isn't there."""
    # Another refold, or another DuckDB, may have another opinion of what is foreign.
    said: list[Any] = [schema.FORMAT_VERSION, duckdb.__version__]
    try:
        for file in (path, Path(f"{path}.wal")):
            if file == path or file.exists():
                found = file.stat()
                said += [found.st_dev, found.st_ino, found.st_size]
                said += [found.st_mtime_ns, found.st_ctime_ns]
    except OSError:
        return None
    return said


def _look(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        version = format_of(connection)
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
        strange = validation.foreign(connection)
    except duckdb.Error as error:
        raise trouble(error, path) from error
    if strange is not None:
        raise WorkspaceError(f"{path} is refused as a workspace: {strange}.")


def format_of(connection: duckdb.DuckDBPyConnection) -> object:
    """The file's format, asked without an operator or a function that a stranger could define."""
    tables = connection.execute("SELECT table_name FROM system.main.duckdb_tables()").fetchall()
    if ("workspace",) not in tables:
        return None
    for row in connection.execute("SELECT * FROM main.workspace").fetchall():
        if row[:1] == ("format_version",):
            try:
                return json.loads(row[1])
            except (TypeError, ValueError):
                return None
    return None
