"""The process that a worker lives in: started shut in as far as this machine lets us, and watched.

`replay.worker.environment.launcher` (level 2, by the kernel) and
`replay.worker.environment.audit_hook` (level 1, in Python) decide what it can't do. What the kernel
refuses to native code is reported here.
"""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.worker_host import process_session
from replay.worker_host.seccomp_listener import BlockedCall, SeccompListener

_LAUNCHER = Path(__file__).parents[1] / "worker" / "environment" / "launcher.py"
_SECONDS_TO_START = 10


@dataclass(frozen=True)
class IsolationLevel:
    """How far a worker is shut in."""

    level: int
    """1: by its interpreter, which a native client can pass by. 2: by the kernel."""
    files: bool
    """Whether the kernel keeps it from writing files as well."""
    why: str
    """What kept it from being level 2."""

    def __str__(self) -> str:
        if self.level == 1:
            return f"level 1, by the interpreter alone ({self.why})"
        return "level 2, by the kernel" + ("" if self.files else " but for files")


@dataclass(frozen=True)
class CellOptions:
    """What a shut-in process may use."""

    memory: int | None = None
    """Bytes for the process and all that it starts; None: no limit."""
    readable: Sequence[str] | None = None
    """The files and folders that it can read, on Linux; None: all but terminals and devices."""
    has_terminal: bool = False
    """Whether its standard input is a terminal of its own."""


class Sandbox:
    """A process of the user's interpreter that is shut in, in a session of its own."""

    def __init__(
        self,
        command: Sequence[str],
        on_blocked_socket: Callable[[BlockedCall], None],
        options: CellOptions = CellOptions(),
        **popen: Any,
    ) -> None:
        """Start it; a thread calls `attempt` for each call of native code that is refused.

        Raises `OSError` where there is no such program.
        """
        program = shutil.which(command[0])
        if program is None:
            code = errno.EACCES if Path(command[0]).exists() else errno.ENOENT
            raise OSError(code, os.strerror(code))
        self._on_blocked_socket = on_blocked_socket
        self._isolation: IsolationLevel | None = None
        self._is_level_known, self._ended = threading.Event(), threading.Event()
        self._watch: threading.Thread | None = None
        self.has_used_up_memory = False
        """Whether it was ended because it took more memory than it may."""
        popen["start_new_session"] = True
        if not sys.platform.startswith("linux"):
            self.process = subprocess.Popen(command, **popen)
            process_session.keep_group(self.process.pid)
            self._room = IsolationLevel(1, False, f"{sys.platform} has no level 2")
            self._told.set()
            return
        parent_socket, launcher_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        spec = {
            "parent": launcher_socket.fileno(),
            "memory": options.memory,
            "terminal": options.has_terminal,
            "readable": None if options.readable is None else list(options.readable),
        }
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(spec), program]
        popen["pass_fds"] = (*popen.get("pass_fds", ()), launcher_socket.fileno())
        try:
            self.process = subprocess.Popen([*launch, *command], **popen)
        except BaseException:
            parent_socket.close()
            raise
        finally:
            launcher_socket.close()
        process_session.keep_group(self.process.pid)
        self._start_thread(self._receive_level, parent_socket)
        if options.memory is not None:
            arguments = (self.process.pid, options.memory, self._ended, self._end_full)
            self._watch = self._start_thread(process_session.watch_memory, *arguments)

    @property
    def isolation(self) -> IsolationLevel:
        """How far it is shut in, once that is known."""
        self._is_level_known.wait(_SECONDS_TO_START)
        return self._isolation or IsolationLevel(1, False, "it ended before that was known")

    def end(self) -> None:
        """End it, and all that it has started."""
        self._ended.set()
        process_session.end_group(self.process.pid)
        if self._watch is not None:
            self._watch.join()

    def _end_full(self) -> None:
        self.has_used_up_memory = True
        process_session.end_group(self.process.pid)

    def _start_thread(self, target: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread

    def _receive_level(self, launcher_socket: socket.socket) -> None:
        """Take the listener over from the launcher, answer it, and hear what the launcher found."""
        with launcher_socket:
            try:
                message, descriptors, _, _ = socket.recv_fds(launcher_socket, 16, 1)
            except OSError:
                message, descriptors = b"", []
            if descriptors:
                listener = SeccompListener(
                    descriptors[0],
                    self.process.pid,
                    self._on_blocked_socket,
                    keeps_files=message == b"files",
                )
                self._start_thread(listener.run)
            try:
                level_report = json.loads(launcher_socket.recv(4096)) if message else None
            except (OSError, ValueError):
                level_report = None
        if level_report is not None:
            self._isolation = IsolationLevel(**level_report)
        self._is_level_known.set()
