"""The process that a worker lives in: started shut in as far as this machine lets us, and watched.

`replay.worker.environment.launcher` (level 2, by the kernel) and
`replay.worker.environment.audit_hook` (level 1, in Python) decide what it can't do. A native client
that asks for a socket is reported here and refused.
"""

import errno
import fcntl
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LAUNCHER = Path(__file__).parents[1] / "worker" / "environment" / "launcher.py"
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTICE = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_FAMILIES = {2: "AF_INET", 10: "AF_INET6"}


@dataclass(frozen=True)
class Room:
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


class Cell:
    """A process of the user's interpreter that is shut in."""

    def __init__(
        self, command: Sequence[str], attempt: Callable[[str], None], **popen: Any
    ) -> None:
        """Start it; `attempt` hears of each IP socket that native code wants, from a thread.

        Raises `OSError` where there is no such program.
        """
        program = shutil.which(command[0])
        if program is None:
            code = errno.EACCES if Path(command[0]).exists() else errno.ENOENT
            raise OSError(code, os.strerror(code))
        self._attempt = attempt
        self._room: Room | None = None
        self._told = threading.Event()
        if not sys.platform.startswith("linux"):
            self.process = subprocess.Popen(command, **popen)
            self._room = Room(1, False, f"{sys.platform} has no level 2")
            self._told.set()
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER), str(theirs.fileno()), program]
        popen["pass_fds"] = (*popen.get("pass_fds", ()), theirs.fileno())
        try:
            self.process = subprocess.Popen([*launch, *command], **popen)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        threading.Thread(target=self._follow, args=(ours,), daemon=True).start()

    @property
    def room(self) -> Room:
        """How far it is shut in, once that is known."""
        self._told.wait(10)
        return self._room or Room(1, False, "it ended before that was known")

    def _follow(self, line: socket.socket) -> None:
        """Take the listener over from the launcher, answer it, and hear what the launcher found."""
        with line:
            try:
                message, descriptors, _, _ = socket.recv_fds(line, 16, 1)
            except OSError:
                message, descriptors = b"", []
            if descriptors:
                threading.Thread(target=self._listen, args=(descriptors[0],), daemon=True).start()
            try:
                said = json.loads(line.recv(4096)) if message else None
            except (OSError, ValueError):
                said = None
        if said is not None:
            self._room = Room(**said)
        self._told.set()

    def _listen(self, listener: int) -> None:
        """Refuse every socket that is told, until nobody is left who could ask for one."""
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        try:
            while waiting.poll()[0][1] & select.POLLIN:
                notice = bytearray(_NOTICE.size)
                fcntl.ioctl(listener, _RECEIVE, notice)
                number, _, _, _, _, _, family, *_ = _NOTICE.unpack(notice)
                self._attempt(_FAMILIES.get(family, str(family)))
                refusal = bytearray(_RESPONSE.pack(number, 0, -errno.EPERM, 0))
                try:
                    fcntl.ioctl(listener, _SEND, refusal)
                except FileNotFoundError:
                    continue  # it was interrupted, or is gone
        except OSError:
            pass  # it was gone before it could be answered
        finally:
            os.close(listener)
