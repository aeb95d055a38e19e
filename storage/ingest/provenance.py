"""The sources of a workspace's log, and how their files have changed since the load."""

import lzma
import zlib
from collections.abc import Collection
from dataclasses import dataclass

import duckdb
import zstandard

from storage.errors import RefoldError
from storage.ingest.io import fingerprints
from storage.ingest.io.fingerprints import Fingerprint, SourceChange
from storage.workspace import validation_cache
from storage.workspace.workspace import Workspace

_UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, ArithmeticError, RefoldError),
    *(zlib.error, lzma.LZMAError, zstandard.ZstdError),
)
"""What reading a file raises if its content is no longer what was loaded."""

WHOLE_FORMATS = ("parquet", "arrow", "json", "xes")
"""Formats whose files are rewritten as a whole and never appended to."""


@dataclass(frozen=True)
class Origin:
    """A file from which events were loaded: a row of the `sources` table."""

    source_number: int
    fingerprint: Fingerprint
    format: str
    line_count: int
    ends_without_line_break: bool
    """Whether the file ended without a line break when it was loaded."""


def read_origins(connection: duckdb.DuckDBPyConnection) -> list[Origin]:
    """Return all origins of a workspace, in the order of loading."""
    rows = connection.execute(
        "SELECT source, path, size, modified_ns, taken, head, tail, format, lines, partial"
        " FROM sources ORDER BY source"
    ).fetchall()
    return [
        Origin(
            index,
            Fingerprint(path, size, modified, taken, head, tail, form in WHOLE_FORMATS),
            form,
            lines,
            partial,
        )
        for index, path, size, modified, taken, head, tail, form, lines, partial in rows
    ]


def detect_source_changes(
    workspace: Workspace, named: Collection[str] = (), *, reads_files: bool = False
) -> dict[str, SourceChange]:
    """Return the change of each changed source file, by path.

    With `reads_files` the files' content is hashed; without it, size and time decide. In a
    workspace that the user doesn't own, only the `named` files are examined.
    """
    with workspace.reading() as connection:
        origins = read_origins(connection)
    if not validation_cache.is_own(workspace.path):
        origins = [one for one in origins if one.fingerprint.path in named]
    changes = {
        o.fingerprint.path: _detect_change(o.fingerprint, reads_file=reads_files) for o in origins
    }
    return {path: change for path, change in changes.items() if change is not SourceChange.NONE}


def _detect_change(before: Fingerprint, *, reads_file: bool) -> SourceChange:
    try:
        return fingerprints.detect_change(before, reads_file=reads_file)
    except _UNREADABLE:
        return SourceChange.REWRITTEN
