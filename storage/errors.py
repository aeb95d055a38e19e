"""The errors that a person may see. A message says what is wrong, where, and what to do.

The class of an error decides the exit code of the command that ends with it.
"""

from typing import ClassVar


class RefoldError(Exception):
    """Base class of all errors that are shown as a message instead of a traceback."""

    exit_code: ClassVar[int] = 2
    """The exit code; 2 means that the input or the command is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SourceError(RefoldError):
    """A source can't be read, or has another format than expected."""


class WorkspaceError(RefoldError):
    """A workspace is missing, damaged, too new, or not trusted."""


class WorkspaceBusyError(WorkspaceError):
    """Another process kept the workspace locked for longer than the caller was willing to wait."""


class ConfigurationError(RefoldError):
    """A file of the user's configuration has invalid content, or can't be read or created."""


class StaleError(WorkspaceError):
    """Another process changed the data that a write was based on; nothing was written."""


class PositionError(RefoldError):
    """A position doesn't parse, or the log doesn't have it."""


class QueryError(RefoldError):
    """A query or condition doesn't parse or can't be answered."""


class ProjectionError(RefoldError):
    """A projection can't run, or its worker died before the end."""

    exit_code = 3


class CancelledError(RefoldError):
    """The person cancelled the operation."""

    exit_code = 4


def summarize_error(error: BaseException) -> str:
    """Return the first line of an error's text, at most 300 characters, for use inside a message."""
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0].strip()
    return first if len(first) <= 300 else first[:299] + "…"
