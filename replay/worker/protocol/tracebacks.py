"""What the user's code raised, in their frames and not in ours."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Container, Optional, Tuple, Type

from .user_code import WORKER_FOLDER, is_worker_code


def list_failure_types() -> Tuple[Type[BaseException], ...]:
    """What a handler may raise that fails for one event; what else there is ends its process.

    A cancelled coroutine raises what is no `Exception`; asyncio isn't imported to know of it.
    """
    coroutines = sys.modules.get("asyncio.exceptions")
    cancelled = () if coroutines is None else (coroutines.CancelledError,)
    return (Exception, GeneratorExit, *cancelled)


def summarize_error(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def format_user_traceback(error: BaseException) -> str:
    """The traceback without our own frames: the user's code and what it called."""
    trace = find_user_frames(error)
    if trace is None:
        return summarize_error(error)
    formatted = traceback.TracebackException(type(error), error, trace)
    # What is ours in the middle of it, such as the gateway, is no place to look for a mistake.
    here = WORKER_FOLDER + os.sep
    theirs = [frame for frame in formatted.stack if not frame.filename.startswith(here)]
    formatted.stack = traceback.StackSummary.from_list(theirs)
    return "".join(formatted.format())


def find_user_frames(error: BaseException) -> Optional[TracebackType]:
    """Where the error was raised, from the first frame on that is neither ours nor a debugger's."""
    trace = error.__traceback__
    while trace is not None and (
        is_worker_code(trace.tb_frame.f_globals)
        or trace.tb_frame.f_globals.get("__name__") in ("bdb", "pdb")
    ):
        trace = trace.tb_next
    return trace


def describe_location(error: BaseException, files: Container[str]) -> str:
    """The last line of these files that led to the error, as `orders.py, line 7`; or nothing."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if os.path.realpath(name) in files or name in files:
            found = f"{os.path.basename(name)}, line {line}"
    return found
