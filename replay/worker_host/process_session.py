"""The processes of a worker: their memory, and their end.

A worker leads a session that its children can't leave on Linux, because the sandbox refuses setsid(2)
and setpgid(2). So one signal ends all of them, and one list has all of them.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

_CHECK_SECONDS = 0.2
_CHECKS_PER_LISTING = 5
"""List all processes of the machine every Nth time, to find new ones of the session."""
_MIN_PAUSE_FACTOR = 50
"""Checks take at most 1/50 of the time, however many processes the machine has."""

# Groups arrive as lines "+ID" and "-ID". The pipe ends when refold ends; then kill the groups left.
_KEEPER = """
groups=' '
while read -r line; do
  case $line in
    +*) groups="$groups-${line#+} " ;;
    -*) case $groups in *" $line "*) groups="${groups%%" $line "*} ${groups#*" $line "}" ;; esac ;;
  esac
done
for group in $groups; do kill -9 "$group" 2>/dev/null; done
"""


class _GroupKeeper:
    """A shell beside this process that ends the workers if this process is killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def tell(self, line: str) -> None:
        """Send a line to the shell; if there is none, workers still watch for the parent's end."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._owner != os.getpid():  # a forked process doesn't own its parent's shell
                self._process, self._owner = None, os.getpid()
            if self._process is None:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _KEEPER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._process.returncode = 0  # don't wait for it: it ends with this process
            stream = self._process.stdin
            if stream is not None:
                stream.write(f"{line}\n".encode())
                stream.flush()


_keeper = _GroupKeeper()


def keep_group(group: int) -> None:
    """End this process group when refold's process ends, in whatever way."""
    _keeper.tell(f"+{group}")


def end_group(group: int) -> None:
    """Kill all processes of the group now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    _keeper.tell(f"-{group}")


def watch_memory(
    session: int, limit_bytes: int, ended: threading.Event, exceeded: Callable[[], None]
) -> None:
    """Call `exceeded` once if the session's processes take more than `limit_bytes` of memory.

    Return when they end or `ended` is set. The kernel limits only the private data of each process,
    not shared maps or the sum over processes. Runs in its own thread. Linux only.
    """
    processes = [session]
    for turn in itertools.count():
        began = time.monotonic()
        if turn % _CHECKS_PER_LISTING == 0:
            processes = list(session_processes(session))
            if not processes:
                return
        if sum(map(_memory_bytes, processes)) > limit_bytes and (
            sum(map(_proportional_memory_bytes, processes)) > limit_bytes
        ):
            exceeded()
            return
        if ended.wait(max(_CHECK_SECONDS, _MIN_PAUSE_FACTOR * (time.monotonic() - began))):
            return


def session_processes(session: int) -> Iterator[int]:
    """The living processes of a session; none on a system without /proc."""
    if not sys.platform.startswith("linux"):
        return
    for name in os.listdir("/proc"):  # noqa: PTH208 - several times a second
        if name.isdigit():
            fields = _read_proc_file(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 3 and int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
                yield int(name)


def _memory_bytes(process: int) -> int:
    """Return bytes of anonymous and shared memory; counts shared pages for each process."""
    return _sum_kibibyte_rows(
        _read_proc_file(f"/proc/{process}/status"), (b"RssAnon:", b"RssShmem:")
    )


def _proportional_memory_bytes(process: int) -> int:
    """Return the same bytes, but only the process's share of shared pages."""
    rollup = _read_proc_file(f"/proc/{process}/smaps_rollup")
    if b"Pss_Anon:" not in rollup:
        return _memory_bytes(process)
    return _sum_kibibyte_rows(rollup, (b"Pss_Anon:", b"Pss_Shmem:"))


def _sum_kibibyte_rows(text: bytes, names: tuple[bytes, ...]) -> int:
    rows = (line.split() for line in text.splitlines() if line.startswith(names))
    return sum(int(row[1]) << 10 for row in rows)


def _read_proc_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - several times a second
            return stream.read(1 << 16)
    except OSError:
        return b""
