"""What DuckDB complains of when it opens, reads or writes a workspace, as a sentence for a person."""

import os
import re
from pathlib import Path

import duckdb

from storage.errors import CancelledError, RefoldError, WorkspaceError, one_line

_LOCKED = "Could not set lock on file"
_OPEN_HERE = "different configuration"
"""What DuckDB says where this process has the file open already, for the other purpose."""
_HOLDER = re.compile(r"lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")
_OF_THE_FILE = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
)
"""What DuckDB raises while it reads a damaged file, or one too large, beside its bare `Error`."""


def trouble(error: duckdb.Error, path: Path) -> RefoldError:
    """DuckDB's error about the file, as a sentence for a person."""
    if isinstance(error, duckdb.InterruptException):
        return CancelledError("Interrupted; what was kept before is kept.")
    text = one_line(error)
    if "No space left" in str(error) or "not enough space" in str(error).lower():
        return WorkspaceError(
            f"The disk is full while writing {path}; nothing that was kept before is lost:"
            " make room and run the command again."
        )
    # What fails in a commit is another kind of error, and says so in words only.
    if isinstance(error, duckdb.OutOfMemoryException) or "failed to pin block" in text:
        return WorkspaceError(
            f"This takes more memory than DuckDB may take for {path} here; ask about a shorter stretch,"
            f" or fewer events ({text})."
        )
    if isinstance(error, duckdb.DataError):
        return WorkspaceError(
            f"{path} can't hold a value that was to be written ({text}); what was kept before is kept."
        )
    return WorkspaceError(
        f"{path} is damaged or not a workspace ({text});"
        " load its source again into a new one, or restore a copy."
    )


def is_of_the_file(error: duckdb.Error) -> bool:
    """Whether the file is the trouble, or how long what is in it is, and not what was asked."""
    return type(error) is duckdb.Error or isinstance(error, _OF_THE_FILE)


def holder(error: duckdb.Error) -> str | None:
    """Who else has the file, where that is why it can't be had."""
    if isinstance(error, duckdb.ConnectionException) and _OPEN_HERE in str(error):
        return "this process"
    if isinstance(error, duckdb.IOException) and _LOCKED in str(error):
        return _holder(str(error))
    return None


def _holder(refusal: str) -> str:
    held = _HOLDER.search(refusal)
    if held is None:  # it was gone before DuckDB could look who it was
        return "another process"
    pid = int(held["pid"])
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    # An interpreter's own path says nothing; the command behind it does.
    command = " ".join(
        os.fsdecode(word).rsplit("/", 1)[-1] for word in words[1:3] if not word.startswith(b"-")
    )
    shown = " ".join(command.split())[:60] or Path(held["program"]).name
    return f"{shown} (process {pid})"
