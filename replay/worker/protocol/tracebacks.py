"""Describes errors of the user's code, without the worker's own frames."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Container, Optional, Tuple, Type

from .user_code import WORKER_FOLDER, is_worker_code


def list_failure_types() -> Tuple[Type[BaseException], ...]:
    """Return the errors that fail one event only; any other error ends the process.

    `CancelledError` is not an `Exception`; it is looked up without importing asyncio.
    """
    coroutines = sys.modules.get("asyncio.exceptions")
    cancelled = () if coroutines is None else (coroutines.CancelledError,)
    return (Exception, GeneratorExit, *cancelled)


def summarize_error(error: BaseException) -> str:
    """Return the last lines of the traceback: the error's type and message."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def format_user_traceback(error: BaseException) -> str:
    """Return the traceback without the worker's frames: the user's code and what it called."""
    trace = find_user_frames(error)
    if trace is None:
        return summarize_error(error)
    formatted = traceback.TracebackException(type(error), error, trace)
    # Leave out the worker's frames in the middle, such as the gateway's.
    worker_prefix = WORKER_FOLDER + os.sep
    user_frames = [f for f in formatted.stack if not f.filename.startswith(worker_prefix)]
    formatted.stack = traceback.StackSummary.from_list(user_frames)
    return "".join(formatted.format())


def find_user_frames(error: BaseException) -> Optional[TracebackType]:
    """Return the traceback from the first frame that is neither the worker's nor a debugger's."""
    trace = error.__traceback__
    while trace is not None and (
        is_worker_code(trace.tb_frame.f_globals)
        or trace.tb_frame.f_globals.get("__name__") in ("bdb", "pdb")
    ):
        trace = trace.tb_next
    return trace


def describe_location(error: BaseException, files: Container[str]) -> str:
    """Return the innermost line of `files` in the traceback, as `orders.py, line 7`, or ""."""
    location = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if os.path.realpath(name) in files or name in files:
            location = f"{os.path.basename(name)}, line {line}"
    return location
