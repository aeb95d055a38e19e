"""What DuckDB complains of when it opens, reads or writes a workspace, as a sentence for a person."""

import os
import re
from pathlib import Path

import duckdb

from storage.errors import CancelledError, QueryError, RefoldError, WorkspaceError, summarize_error

_LOCK_MESSAGE = "Could not set lock on file"
_OPEN_IN_THIS_PROCESS = "different configuration"
"""What DuckDB says where this process has the file open already, for the other purpose."""
_HOLDER = re.compile(r"lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")
_FILE_ERRORS = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
)
"""What DuckDB raises while it reads a damaged file, or one too large, beside its bare `Error`."""


def translate_error(error: duckdb.Error, path: Path) -> RefoldError:
    """DuckDB's error about the file, as a sentence for a person."""
    if isinstance(error, duckdb.InterruptException):
        return CancelledError("Interrupted; what was kept before is kept.")
    text = summarize_error(error)
    if (refused := _refused_by_system(str(error), path)) is not None:
        return refused
    if is_of_a_function(error):
        return QueryError(f"DuckDB can't compute this: {text.rstrip('.')}. Ask in another way.")
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


_REFUSALS = (
    (
        ("no space left", "not enough space"),
        "The disk is full while writing {path}; nothing that was kept before is lost:"
        " make room and run the command again.",
    ),
    (
        ("file too large",),
        "{path} would become larger than the limit on files allows; nothing that was kept before is"
        " lost: raise the limit (ulimit -f) and run the command again.",
    ),
    (
        ("quota exceeded",),
        "Your disk quota is used up while writing {path}; nothing that was kept before is lost:"
        " make room and run the command again.",
    ),
    (
        ("read-only file system",),
        "{path} lies on a file system that can only be read; copy it to a folder that can be written.",
    ),
    (
        ("permission denied", "operation not permitted"),
        "You have no permission for {file}; nothing was changed: give yourself the right to read and"
        " write {path} and its folder, or copy it to a folder of your own.",
    ),
    (
        ("too many open files",),
        "{path} can't be opened, because this process has too many files open;"
        " raise the limit (ulimit -n) and run the command again.",
    ),
)
"""What the operating system says through DuckDB while the file is sound, in words only."""
_QUOTED = re.compile(r'"([^"]+)"')


def _refused_by_system(said: str, path: Path) -> WorkspaceError | None:
    """The sentence for what the operating system refused, None if it refused nothing."""
    end = said.lower().rstrip().rsplit('"', 1)[-1]  # a path may hold such words, too
    for words, message in _REFUSALS:
        if any(word in end for word in words):
            named = _QUOTED.findall(said)
            return WorkspaceError(message.format(path=path, file=named[-1] if named else path))
    return None


def is_of_a_function(error: Exception) -> bool:
    """Whether a function of SQL failed in a way that DuckDB takes for an error of its own."""
    return isinstance(error, duckdb.InternalException) and "not marked as fallible" in str(error)


def is_file_error(error: duckdb.Error) -> bool:
    """Whether the file is the trouble, or how long what is in it is, and not what was asked."""
    if is_of_a_function(error):
        return False
    return type(error) is duckdb.Error or isinstance(error, _FILE_ERRORS)


def find_lock_holder(error: duckdb.Error) -> str | None:
    """Who else has the file, where that is why it can't be had."""
    if isinstance(error, duckdb.ConnectionException) and _OPEN_IN_THIS_PROCESS in str(error):
        return "this process"
    if isinstance(error, duckdb.IOException) and _LOCK_MESSAGE in str(error):
        return _describe_holder(str(error))
    return None


def _describe_holder(refusal: str) -> str:
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
