"""What Python code in a worker may not do: connect, start programs, write files.

An audit hook, so it holds for accidents in Python code, also in threads; a native client can pass
it by. It is set before the user's code is loaded and can't be taken away again.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_BLOCKED = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "socket.sendmsg",
    "socket.bind",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.utime",
    "os.setxattr",
    "shutil.rmtree",
)
_WRITING = "wax+"
_SHARED_MEMORY = ("/dev/null",)


def close() -> None:
    """Forbid from now on, for the whole process."""
    sys.addaudithook(_refuse)


def _refuse(event: str, args: Any) -> None:
    if event == "open":
        path, mode, flags = args
        if path in _SHARED_MEMORY or isinstance(path, int):
            return
        writing = any(c in _WRITING for c in mode) if isinstance(mode, str) else bool(flags & 3)
        if writing:
            raise PermissionError(f"a replay writes no files; {path!r} stays as it is")
    elif event == "sqlite3.connect":
        if not _only_in_memory(str(args[0])):
            raise PermissionError(
                f"a replay writes no files; {args[0]!r} may be opened with mode=ro"
            )
    elif event in ("os.kill", "os.killpg"):
        # Its group is its own too, and holds what the worker has started before.
        if args[0] != os.getpid():
            raise PermissionError(f"a replay lets nothing out: {event} is not allowed")
    elif event in _BLOCKED:
        raise PermissionError(f"a replay lets nothing out: {event} is not allowed")


def _only_in_memory(database: str) -> bool:
    return database in (":memory:", "") or (
        database.startswith("file:") and ("mode=ro" in database or "mode=memory" in database)
    )
