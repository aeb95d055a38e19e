"""A terminal for a command, which detects keys that hostile code typed or read."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator

from crash.finding import Finding

_KEYS = b"typed ahead\n"
_ECHO = 3
"""The index of the local modes, with the echo flag, in the result of `tcgetattr`."""


class Terminal:
    """A pseudo-terminal; use it as a context manager."""

    def __init__(self, typed: bytes = _KEYS) -> None:
        """Set the keys that are typed ahead."""
        self._typed = typed
        self.output = b""

    def __enter__(self) -> "Terminal":
        self._master, self._slave = pty.openpty()
        self.name = os.ttyname(self._slave)
        termios.tcsetwinsize(self._slave, (40, 120))
        self._before = termios.tcgetattr(self._slave)
        os.write(self._master, self._typed)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)
        os.close(self._slave)

    def control(self) -> None:
        """Make it the controlling terminal of this process, without using it as input."""
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def attach(self) -> None:
        """Make it this process's controlling terminal, input and output."""
        self.control()
        for target in range(3):
            os.dup2(self._slave, target)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def drain(self, pid: int = 0) -> None:
        """Read all output, because a full terminal would block the command."""
        del pid
        while select.select([self._master], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                self.output += os.read(self._master, 1 << 16)
                continue
            return

    def alarms(self, *, reads_keys: bool) -> Iterator[Finding]:
        """Yield what hostile code did to the terminal; `reads_keys`: the command itself reads keys."""
        self.drain()
        waiting = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, b"\0" * 4))[0]
        expected = len(self._typed)
        if waiting > expected:
            yield Finding("keys injected", f"{waiting - expected} characters wait in the terminal")
        if waiting < expected and not reads_keys:
            yield Finding("keys read", f"{expected - waiting} typed characters are gone")
        if termios.tcgetattr(self._slave)[_ECHO] != self._before[_ECHO]:
            yield Finding("terminal changed", "its local modes, such as the echo")
