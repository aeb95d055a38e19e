"""The sandbox: the process of a worker, restricted as far as this machine allows, and watched.

`replay.worker.environment.launcher` (level 2, by the kernel) and
`replay.worker.environment.audit_hook` (level 1, in Python) decide what it can't do. This module reports
what the kernel refuses to native code.
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
    """How strongly a worker is restricted."""

    level: int
    """1: by its interpreter, which native code can bypass. 2: by the kernel."""
    files: bool
    """Whether the kernel prevents it from writing files as well."""
    why: str
    """Why it isn't level 2; empty if it is."""

    def __str__(self) -> str:
        if self.level == 1:
            return f"level 1, by the interpreter alone ({self.why})"
        return "level 2, by the kernel" + ("" if self.files else " but for files")


@dataclass(frozen=True)
class CellOptions:
    """What a sandboxed process may use."""

    memory: int | None = None
    """Bytes for the process and all processes that it starts; None: no limit."""
    readable: Sequence[str] | None = None
    """Files and folders that it can read, on Linux; None: all but terminals and devices."""
    has_terminal: bool = False
    """Whether its standard input is its own terminal."""


class Sandbox:
    """A sandboxed process of the user's interpreter, in its own session."""

    def __init__(
        self,
        command: Sequence[str],
        on_blocked_socket: Callable[[BlockedCall], None],
        options: CellOptions = CellOptions(),
        **popen: Any,
    ) -> None:
        """Start it; a thread calls `on_blocked_socket` for each refused call of native code.

        Raises `OSError` if there is no such program.
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
            self._isolation = IsolationLevel(1, False, f"{sys.platform} has no level 2")
            self._is_level_known.set()
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
            arguments = (self.process.pid, options.memory, self._ended, self._end_for_memory)
            self._watch = self._start_thread(process_session.watch_memory, *arguments)

    @property
    def isolation(self) -> IsolationLevel:
        """The isolation level, once it is known; waits at most `_SECONDS_TO_START` for it."""
        self._is_level_known.wait(_SECONDS_TO_START)
        return self._isolation or IsolationLevel(
            1, False, "the process ended before it reported a level"
        )

    def end(self) -> None:
        """End the process and all processes that it started."""
        self._ended.set()
        process_session.end_group(self.process.pid)
        if self._watch is not None:
            self._watch.join()

    def _end_for_memory(self) -> None:
        self.has_used_up_memory = True
        process_session.end_group(self.process.pid)

    def _start_thread(self, target: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread

    def _receive_level(self, launcher_socket: socket.socket) -> None:
        """Start the listener that the launcher passes on, and receive the launcher's level."""
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
