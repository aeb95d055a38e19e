"""Isolation level 1: an audit hook that forbids connections, programs and writing files.

It stops Python code in all threads. Native code can bypass it; the `launcher` stops native code if
the kernel supports that. The hook is installed before the user's code is loaded, and Python can't
remove it. Every attempt is recorded with its stack.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import Any, Callable, Optional

from ..protocol.user_code import WORKER_FOLDER
from .import_hooks import patch_when_imported

OnBlocked = Callable[[str, Any, str], None]
"""Takes the audit event, such as `socket.connect`, its arguments, and the user's stack."""

_BLOCKED_EVENTS = frozenset(
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
_CHECKED_EVENTS = frozenset(
    ("open", "sqlite3.connect", "os.kill", "os.killpg", "socket.__new__", "ctypes.dlopen")
)
_WRITE_MODES = "wax+"
_ALLOWED_FILES = ("/dev/null",)
_MAX_FRAMES = 30


class AuditHook:
    """Blocks forbidden audit events once it is installed."""

    def __init__(
        self, on_blocked: Optional[OnBlocked] = None, is_handling: Callable[[], bool] = bool
    ) -> None:
        """`is_handling` returns whether an event is being handled."""
        self._on_blocked = on_blocked
        self._is_handling = is_handling
        self._thread_state = threading.local()

    def install(self) -> None:
        """Install the hook for the whole process; it can't be removed."""
        patch_when_imported({"socket": _disable_ipv6})
        sys.addaudithook(self._check_event)

    def _check_event(self, event: str, args: Any) -> None:
        if event in _BLOCKED_EVENTS:
            given = args[1:] if event.startswith("socket.") and len(args) > 1 else args
            self._block(
                event, _shorten_repr(given), f"a replay lets nothing out: {event} is not allowed"
            )
        elif event in _CHECKED_EVENTS:
            self._check_arguments(event, args)

    def _check_arguments(self, event: str, args: Any) -> None:
        """Block an event if its arguments make it forbidden."""
        if event == "open":
            path, mode, flags = args
            if path in _ALLOWED_FILES or isinstance(path, int):
                return
            is_writing = (
                any(c in _WRITE_MODES for c in mode) if isinstance(mode, str) else bool(flags & 3)
            )
            if is_writing:
                message = f"a replay writes no files: {path!r} was not opened for writing"
                self._block("file.write", _shorten_repr(path), message)
        elif event == "sqlite3.connect":
            if _is_read_only_database(str(args[0])):
                return
            message = f"a replay writes no files: open {args[0]!r} with mode=ro"
            self._block("file.sqlite3", _shorten_repr(args[0]), message)
        elif event in ("os.kill", "os.killpg"):
            # With os.killpg this is the worker's own group, which holds a program that it started.
            if args[0] == os.getpid():
                return
            self._block(event, list(args), f"a replay lets nothing out: {event} is not allowed")
        elif event == "socket.__new__":
            # A socket around an existing descriptor, such as of a pair, opens no new connection.
            caller = sys._getframe(2)
            if caller.f_code.co_name == "__init__" and caller.f_locals.get("fileno", 0) is None:
                self._block(
                    "socket.new", _shorten_repr(args[1:]), "a replay lets nothing out: no sockets"
                )
        elif args[0] is not None and self._is_handling() and not _is_importing():
            # Extension modules may load libraries when they are imported; handlers may not.
            message = f"a replay lets nothing out: {args[0]!r} was not loaded"
            self._block("ctypes.dlopen", _shorten_repr(args[0]), message)

    def _block(self, event: str, request: Any, message: str) -> None:
        if self._on_blocked is not None and not getattr(self._thread_state, "is_recording", False):
            self._thread_state.is_recording = True  # recording must not record itself
            try:
                self._on_blocked(event, request, _format_user_stack())
            finally:
                self._thread_state.is_recording = False
        raise PermissionError(message)


def _disable_ipv6(module: Any) -> None:
    """Set `socket.has_ipv6` to False, because libraries test IPv6 by opening a socket."""
    module.has_ipv6 = False


def _format_user_stack() -> str:
    """Return the current stack without the worker's frames."""
    frames = [
        frame
        for frame in traceback.extract_stack(limit=_MAX_FRAMES)
        if not frame.filename.startswith(WORKER_FOLDER)
    ]
    return "".join(traceback.format_list(frames))


def _is_importing() -> bool:
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _shorten_repr(value: Any) -> Any:
    """Return the repr of a value, at most 300 characters."""
    text = repr(value)
    return text if len(text) <= 300 else text[:299] + "…"


def _is_read_only_database(database: str) -> bool:
    return database in (":memory:", "") or (
        database.startswith("file:") and ("mode=ro" in database or "mode=memory" in database)
    )
