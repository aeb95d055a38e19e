"""Unfinished files of processes that were killed: their names hold the process's id.

A killed process can't remove its unfinished file, so the next one that writes there does.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path


def unfinished_path(folder: Path, prefix: str) -> Path:
    """Return the path of an unfinished file of this process; its name begins with `prefix`."""
    return folder / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"


def find_abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield the files named `prefix` and a process's id whose process has ended."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)(?!\d)")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.match(path.name)
        if match is not None and not is_running(int(match[1])):
            yield path


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the files of `find_abandoned`."""
    for path in find_abandoned(folder, prefix):
        path.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Return whether a process with this id runs."""
    try:
        os.kill(pid, 0)  # signal 0 only checks that the process exists; not every system has /proc
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or a number too large for a process
        return True
    return True
