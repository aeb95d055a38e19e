"""What Python code in a worker may not do: connect, start programs, write files; level 1.

An audit hook, so it holds for accidents in Python code, also in threads; a native client can pass
it by, and is stopped by `refold_worker.environment.launcher` where the kernel lets us. It is set before the
user's code is loaded and can't be taken away again. Every attempt is noted, with the way to it.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import Any, Callable, Optional

from ..protocol.user_code import WORKER_FOLDER
from .import_hooks import when_imported

Noted = Callable[[str, Any, str], None]
"""Takes what was attempted, as `socket.connect`, with what, and the stack."""

_BLOCKED = frozenset(
    (
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
)
_LOOKED_AT = frozenset(
    ("open", "sqlite3.connect", "os.kill", "os.killpg", "socket.__new__", "ctypes.dlopen")
)
_WRITING = "wax+"
_SHARED_MEMORY = ("/dev/null",)
_MOST_FRAMES = 30


class Room:
    """What is forbidden, once it is closed."""

    def __init__(self, noted: Optional[Noted] = None, handling: Callable[[], bool] = bool) -> None:
        """`handling` says whether an event is being handled."""
        self._noted = noted
        self._handling = handling
        self._own = threading.local()

    def close(self) -> None:
        """Forbid from now on, for the whole process."""
        when_imported({"socket": _without_ipv6})
        sys.addaudithook(self._refuse)

    def _refuse(self, event: str, args: Any) -> None:
        if event in _BLOCKED:
            given = args[1:] if event.startswith("socket.") and len(args) > 1 else args
            self._stop(event, _shown(given), f"a replay lets nothing out: {event} is not allowed")
        elif event in _LOOKED_AT:
            self._look(event, args)

    def _look(self, event: str, args: Any) -> None:
        """Refuse what may be refused, depending on what it is for."""
        if event == "open":
            path, mode, flags = args
            if path in _SHARED_MEMORY or isinstance(path, int):
                return
            writing = any(c in _WRITING for c in mode) if isinstance(mode, str) else bool(flags & 3)
            if writing:
                said = f"a replay writes no files; {path!r} stays as it is"
                self._stop("file.write", _shown(path), said)
        elif event == "sqlite3.connect":
            if _only_in_memory(str(args[0])):
                return
            said = f"a replay writes no files; {args[0]!r} may be opened with mode=ro"
            self._stop("file.sqlite3", _shown(args[0]), said)
        elif event in ("os.kill", "os.killpg"):
            # Its group is its own too, and holds what the worker has started before.
            if args[0] == os.getpid():
                return
            self._stop(event, list(args), f"a replay lets nothing out: {event} is not allowed")
        elif event == "socket.__new__":
            # One that is made around a descriptor, as of a pair, leads nowhere.
            made = sys._getframe(2)
            if made.f_code.co_name == "__init__" and made.f_locals.get("fileno", 0) is None:
                self._stop("socket.new", _shown(args[1:]), "a replay lets nothing out: no sockets")
        elif args[0] is not None and self._handling() and not _importing():
            # What is imported may be linked with anything; a handler that names a library isn't.
            said = f"a replay lets nothing out: {args[0]!r} is not opened"
            self._stop("ctypes.dlopen", _shown(args[0]), said)

    def _stop(self, what: str, request: Any, said: str) -> None:
        if self._noted is not None and not getattr(self._own, "noting", False):
            self._own.noting = True  # what is done to note it isn't noted
            try:
                self._noted(what, request, _stack())
            finally:
                self._own.noting = False
        raise PermissionError(said)


def _without_ipv6(module: Any) -> None:
    """Who asks whether there is IPv6 tries it with a socket."""
    module.has_ipv6 = False


def _stack() -> str:
    """How the user's code got there, without our own frames."""
    frames = [
        frame
        for frame in traceback.extract_stack(limit=_MOST_FRAMES)
        if not frame.filename.startswith(WORKER_FOLDER)
    ]
    return "".join(traceback.format_list(frames))


def _importing() -> bool:
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _shown(value: Any) -> Any:
    """Something short of what was given."""
    text = repr(value)
    return text if len(text) <= 300 else text[:299] + "…"


def _only_in_memory(database: str) -> bool:
    return database in (":memory:", "") or (
        database.startswith("file:") and ("mode=ro" in database or "mode=memory" in database)
    )
