"""Where a workspace's log came from, and what has become of those files since."""

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
"""What reading a file raises that isn't what it was."""

WHOLE_FORMATS = ("parquet", "arrow", "json", "xes")
"""Formats whose files are rewritten, never appended to."""


@dataclass(frozen=True)
class Origin:
    """A file that events were loaded from: a row of the `sources` table."""

    source_number: int
    fingerprint: Fingerprint
    format: str
    line_count: int
    ends_without_line_break: bool
    """It ended without a line break when it was taken."""


def read_origins(connection: duckdb.DuckDBPyConnection) -> list[Origin]:
    """All origins of a workspace, in the order in which they were loaded."""
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
    """What has become of each file, where anything has; `thorough` reads the files.

    Of a workspace that isn't the user's own only the files are looked at that the user `named`.
    """
    with workspace.reading() as connection:
        origins = read_origins(connection)
    if not validation_cache.is_own(workspace.path):
        origins = [one for one in origins if one.fingerprint.path in named]
    found = {o.fingerprint.path: _change(o.fingerprint, thorough=reads_files) for o in origins}
    return {path: what for path, what in found.items() if what is not SourceChange.NONE}


def _change(before: Fingerprint, *, thorough: bool) -> SourceChange:
    try:
        return fingerprints.detect_change(before, reads_file=thorough)
    except _UNREADABLE:
        return SourceChange.REWRITTEN
