"""Translates DuckDB's errors about a workspace file into messages for a person."""

import os
import re
from pathlib import Path

import duckdb

from storage.errors import CancelledError, QueryError, RefoldError, WorkspaceError, summarize_error

_LOCK_MESSAGE = "Could not set lock on file"
_OPEN_IN_THIS_PROCESS = "different configuration"
"""Part of DuckDB's message when this process already has the file open in the other mode."""
_HOLDER = re.compile(r"lock is held in .*? \(PID (?P<pid>\d+)\)")
_FILE_ERRORS = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
)
"""Errors that DuckDB raises for a damaged or too large file, besides its bare `Error`."""


def translate_error(error: duckdb.Error, path: Path) -> RefoldError:
    """Return an error of DuckDB about the file at `path` as an error with a message for a person."""
    if isinstance(error, duckdb.InterruptException):
        return CancelledError("Interrupted; everything saved before is kept.")
    text = summarize_error(error)
    if (refused := _refused_by_system(str(error), path)) is not None:
        return refused
    if is_of_a_function(error):
        return QueryError(f"DuckDB can't compute this: {text.rstrip('.')}. Rewrite the query.")
    # An error during a commit has another class, so only its text tells that memory ran out.
    if isinstance(error, duckdb.OutOfMemoryException) or "failed to pin block" in text:
        return WorkspaceError(
            f"DuckDB needs more memory for {path} than it may take here ({text});"
            " ask about a shorter range, or about fewer events."
        )
    if isinstance(error, duckdb.DataError):
        return WorkspaceError(
            f"{path} can't store a value ({text}); nothing was written, and everything saved before is kept."
        )
    return WorkspaceError(
        f"{path} is damaged or not a workspace ({text});"
        " load its source again into a new one, or restore a copy."
    )


_REFUSALS = (
    (
        ("no space left", "not enough space"),
        "The disk is full while writing {path}; nothing saved before is lost:"
        " make room and run the command again.",
    ),
    (
        ("file too large",),
        "{path} would become larger than the limit on files allows; nothing saved before is"
        " lost: raise the limit (ulimit -f) and run the command again.",
    ),
    (
        ("quota exceeded",),
        "Your disk quota is used up while writing {path}; nothing saved before is lost:"
        " make room and run the command again.",
    ),
    (
        ("read-only file system",),
        "{path} is on a read-only file system; copy it to a folder that you can write to.",
    ),
    (
        ("permission denied", "operation not permitted"),
        "You have no permission for {file}, and nothing was changed; give yourself the right to read"
        " and write {path} and its folder, or copy it to a folder of your own.",
    ),
    (
        ("too many open files",),
        "{path} can't be opened, because this process has too many files open;"
        " raise the limit (ulimit -n) and run the command again.",
    ),
)
"""Phrases of the operating system inside DuckDB's messages, and the message for each.

The file itself is sound in these cases. DuckDB has no error class of its own for them.
"""
_QUOTED = re.compile(r'"([^"]+)"')


def _refused_by_system(text: str, path: Path) -> WorkspaceError | None:
    """Return the error for a refusal by the operating system, or None if it refused nothing."""
    end = text.lower().rstrip().rsplit('"', 1)[-1]  # a path may contain such words, too
    for phrases, message in _REFUSALS:
        if any(phrase in end for phrase in phrases):
            named = _QUOTED.findall(text)
            return WorkspaceError(message.format(path=path, file=named[-1] if named else path))
    return None


def is_of_a_function(error: Exception) -> bool:
    """Return whether a SQL function failed and DuckDB reports that as an internal error."""
    return isinstance(error, duckdb.InternalException) and "not marked as fallible" in str(error)


def is_file_error(error: duckdb.Error) -> bool:
    """Return whether the error comes from the file or the size of its values, not from the query."""
    if is_of_a_function(error):
        return False
    return type(error) is duckdb.Error or isinstance(error, _FILE_ERRORS)


def find_lock_holder(error: duckdb.Error) -> str | None:
    """Return which process holds the lock, or None if the error isn't about a lock."""
    if isinstance(error, duckdb.ConnectionException) and _OPEN_IN_THIS_PROCESS in str(error):
        return "this process"
    if isinstance(error, duckdb.IOException) and _LOCK_MESSAGE in str(error):
        holder = _HOLDER.search(str(error))
        return describe_holder(None if holder is None else int(holder["pid"]))
    return None


def describe_holder(pid: int | None) -> str:
    """Return a process's command and number for a message; None if it ended before it was found."""
    if pid is None:
        return "another process"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    # The first word is the interpreter; the command that it runs comes after it.
    command = " ".join(
        os.fsdecode(word).rsplit("/", 1)[-1] for word in words[1:3] if not word.startswith(b"-")
    )
    shown = " ".join(command.split())[:60] or _program_name(pid)
    return f"{shown} (process {pid})"


def _program_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return "a program"
