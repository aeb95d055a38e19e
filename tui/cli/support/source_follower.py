"""Following a source: what is new is appended again and again, until a person stops it.

Every append is whole or not at all, and begins where the one before ended: a line that broke costs
waiting, no event twice, and none lost.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import SourceError
from storage.ingest import loader
from storage.ingest.loader import LoadOptions, LoadResult
from tui.cli.support import progress_display

POLL_SECONDS = 1.0
"""Between two looks at the source."""
_BEGUN = "Following"
"""What is said when everything is loaded that was there."""
MAX_POLL_SECONDS = 30.0
"""Between two looks at a source that can't be read."""


def follow_source(
    source: Sequence[str],
    target: Path,
    wish: LoadOptions,
    appended: Callable[[LoadResult], None],
    *,
    beside: int | None = None,
) -> None:
    """Append what is new until Ctrl+C; `appended` is told of each time there was anything.

    One that follows `beside` a screen, a process, ends when that has gone.
    """
    progress_display.print_message(f"{_BEGUN}; Ctrl+C ends it.")
    rest, trouble = POLL_SECONDS, ""
    with suppress(KeyboardInterrupt):
        while beside is None or os.getppid() == beside:
            time.sleep(rest)
            try:
                loaded = loader.load_source(source, target, wish)
            except SourceError as error:
                if error.message != trouble:
                    progress_display.print_message(f"{error.message} It is tried again.")
                rest, trouble = min(2 * rest, MAX_POLL_SECONDS), error.message
                continue
            if trouble:
                progress_display.print_message("It can be read again.")
            rest, trouble = POLL_SECONDS, ""
            if loaded.appended:
                appended(loaded)


@contextmanager
def follow_in_process(source: str, target: Path) -> Iterator[Iterator[str]]:
    """Follow a source in a process of its own, so that a screen only has to look at the workspace;
    what is to be told a person, as it comes."""
    command = [sys.executable, "-c", "from tui.cli import main; main()", "load", source]
    command += ["-o", str(target), "--follow", "--beside", str(os.getpid())]
    nowhere = subprocess.DEVNULL
    # In a session of its own, as Ctrl+C in the screen is none of its business.
    child = subprocess.Popen(
        command,
        stdin=nowhere,
        stdout=nowhere,
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


def _child_messages(child: "subprocess.Popen[str]", source: str) -> Iterator[str]:
    lines = (line.strip() for line in child.stderr or ())
    for line in lines:
        if line.startswith(_BEGUN):
            yield f"Following {source}: what is appended is shown."
            break
    # How many came is seen.
    yield from (line for line in lines if line and "new event" not in line)
