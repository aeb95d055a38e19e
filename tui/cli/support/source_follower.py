"""Following a source: append its new events every second, until Ctrl+C.

Each append is atomic and begins where the last one ended. An unreadable source therefore costs
waiting time, but loses no event and appends none twice.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import SourceError
from storage.ingest import loader
from storage.ingest.loader import LoadOptions, LoadResult
from tui.child_command import build_refold_command
from tui.cli.support import progress_display

POLL_SECONDS = 1.0
"""Seconds between two reads of the source."""
_BEGUN = "Following"
"""The first word of the message that the existing events are loaded."""
MAX_POLL_SECONDS = 30.0
"""Most seconds between two reads of a source that can't be read."""


def follow_source(
    source: Sequence[str],
    target: Path,
    load_options: LoadOptions,
    appended: Callable[[LoadResult], None],
    *,
    beside: int | None = None,
) -> None:
    """Append new events until Ctrl+C, and call `appended` after each load that had any.

    `beside` is the id of a parent process, the screen; following ends when that process ends.
    """
    progress_display.print_message(f"{_BEGUN}. Press Ctrl+C to stop.")
    pause, problem = POLL_SECONDS, ""
    with suppress(KeyboardInterrupt):
        while beside is None or os.getppid() == beside:
            time.sleep(pause)
            try:
                loaded = loader.load_source(source, target, load_options)
            except SourceError as error:
                if error.message != problem:
                    progress_display.print_message(f"{error.message} Retrying.")
                pause, problem = min(2 * pause, MAX_POLL_SECONDS), error.message
                continue
            if problem:
                progress_display.print_message("The source can be read again.")
            pause, problem = POLL_SECONDS, ""
            if loaded.appended:
                appended(loaded)


@contextmanager
def follow_in_process(source: str, target: Path) -> Iterator[Iterator[str]]:
    """Follow a source in a child process, and yield its messages for the person as they come.

    The screen then only has to read the workspace.
    """
    beside = ("--beside", str(os.getpid()))
    command = build_refold_command("load", source, "-o", str(target), "--follow", *beside)
    null = subprocess.DEVNULL
    # In its own session, because Ctrl+C in the screen must not end it.
    child = subprocess.Popen(
        command,
        stdin=null,
        stdout=null,
        stderr=subprocess.PIPE,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        yield _child_messages(child, source)
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _child_messages(child: "subprocess.Popen[str]", source: str) -> Iterator[str]:
    lines = (line.strip() for line in child.stderr or ())
    for line in lines:
        if line.startswith(_BEGUN):
            yield f"Following {source}: new events appear as they come."
            break
    # The screen itself shows how many events came.
    yield from (line for line in lines if line and "new event" not in line)
