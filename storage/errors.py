"""The errors a person may meet. Each message is one sentence: what is wrong, where, what to do.

A class here decides one thing only: the exit code of a command that ends with it.
"""

from typing import ClassVar


class RefoldError(Exception):
    """Root of every error that is shown to a person instead of a traceback."""

    exit_code: ClassVar[int] = 2
    """2: the input or the command is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SourceError(RefoldError):
    """A source can't be read, or isn't what it is taken for."""


class WorkspaceError(RefoldError):
    """A workspace is missing, damaged, too new, or not to be trusted."""


class WorkspaceBusyError(WorkspaceError):
    """Another process kept the workspace locked for longer than the caller would wait."""


class ConfigurationError(RefoldError):
    """A file of the user's own configuration holds something wrong, or can't be read or created."""


class StaleError(WorkspaceError):
    """Another process changed what a write was computed from; nothing of the write was kept."""


class PositionError(RefoldError):
    """A position that doesn't parse, or names a moment that the log doesn't have."""


class QueryError(RefoldError):
    """A query that a person typed doesn't parse or can't be answered."""


class ProjectionError(RefoldError):
    """A projection can't be run, or its worker died before the end."""

    exit_code = 3


class CancelledError(RefoldError):
    """The person stopped it."""

    exit_code = 4


def summarize_error(error: BaseException) -> str:
    """The first line of an error's text, for use inside a sentence of ours."""
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0].strip()
    return first if len(first) <= 300 else first[:299] + "…"
