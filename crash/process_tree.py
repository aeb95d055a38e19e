"""The processes that a try started: their memory, which of them still run, and killing them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

MARK = "REFOLD_CRASH_TRY"
"""The environment variable that marks processes of a try, even if they leave their session."""
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_LONGEST_GRACE_SECONDS = 60.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class TreeUsage(NamedTuple):
    """What a process and its descendants use."""

    memory_mb: float
    """Their resident memory now."""
    processor_seconds: float
    """Their processor time so far, with that of children that have ended and were waited for."""


def measure_tree(root: int) -> TreeUsage:
    """Return what a process and its descendants use."""
    found = [_measure(pid) for pid in _tree(root)]
    return TreeUsage(
        sum(one.memory_mb for one in found), sum(one.processor_seconds for one in found)
    )


def marked_processes(mark: str) -> list[int]:
    """Return the ids of running processes with this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def wait_for_end(mark: str, seconds: float, poll: Callable[[], object]) -> list[int]:
    """Return the marked processes that still run after so many seconds; call `poll` while they do.

    Processes that wait for a processor or for a disk get longer, up to a minute.
    """
    started = time.monotonic()
    deadline = started + seconds
    while left := marked_processes(mark):
        now = time.monotonic()
        if now > deadline:
            if now > started + _LONGEST_GRACE_SECONDS or not any(map(has_work, left)):
                break
            deadline = now + seconds
        poll()
        time.sleep(0.02)
    return left


def has_work(pid: int) -> bool:
    """Return whether a thread of a process runs, or waits for a processor or a disk."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                if (thread / "stat").read_bytes().rpartition(b") ")[2][:1] in (b"R", b"D"):
                    return True
    return False


def tree_has_work(root: int) -> bool:
    """Return whether a process or one of its descendants has work."""
    return any(map(has_work, _tree(root)))


def describe(pid: int) -> str:
    """Return the command line of a process, its state, and the kernel function that it waits in."""
    found = []
    for name in ("cmdline", "stat", "wchan"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text(errors="replace").replace("\0", " ")
        except OSError:
            text = "?"
        found.append(text.rpartition(") ")[2][:1] if name == "stat" else text[:160])
    return " ".join(found)


def kill_all(pids: list[int]) -> None:
    """Kill processes, and ignore those that have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _tree(root: int) -> Iterator[int]:
    yield root
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{root}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (thread / "children").read_text().split():
                    yield from _tree(int(child))


def _measure(pid: int) -> TreeUsage:
    try:
        # The name before the bracket may contain spaces; see proc_pid_stat(5).
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        ticks = sum(int(field) for field in fields[11:15])
        return TreeUsage(int(fields[21]) * _PAGE_MB, ticks / _TICKS_PER_SECOND)
    except (OSError, IndexError, ValueError):
        return TreeUsage(0.0, 0.0)
