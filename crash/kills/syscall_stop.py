"""Stops a command at its N-th system call that changes a file, without privileges or a compiler.

It uses seccomp's user notification: the kernel asks the campaign before each such call. The
campaign counts the calls, and lets a call continue, kills or signals the command, or answers that
the disk is full.
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_MACHINE = os.uname().machine
_NUMBERS = {
    "x86_64": {
        "seccomp": 317,
        "openat": 257,
        "open": 2,
        "write": 1,
        "pwrite64": 18,
        "writev": 20,
        "pwritev": 296,
        "fallocate": 285,
        "fsync": 74,
        "fdatasync": 75,
        "ftruncate": 77,
        "truncate": 76,
        "rename": 82,
        "renameat": 264,
        "renameat2": 316,
        "link": 86,
        "linkat": 265,
        "unlink": 87,
        "unlinkat": 263,
        "mkdir": 83,
        "mkdirat": 258,
        "rmdir": 84,
    },
    "aarch64": {
        "seccomp": 277,
        "openat": 56,
        "write": 64,
        "pwrite64": 68,
        "writev": 66,
        "pwritev": 70,
        "fallocate": 47,
        "fsync": 82,
        "fdatasync": 83,
        "ftruncate": 46,
        "truncate": 45,
        "renameat": 38,
        "renameat2": 276,
        "linkat": 37,
        "unlinkat": 35,
        "mkdirat": 34,
    },
}.get(_MACHINE, {})
_NAMES = {number: name for name, number in _NUMBERS.items()}
_OF_DESCRIPTORS = frozenset(
    ("write", "pwrite64", "writev", "pwritev", "fallocate", "fsync", "fdatasync", "ftruncate")
)
_TAKES_ROOM = frozenset(("write", "pwrite64", "writev", "pwritev", "fallocate"))
_FLAGS_OF_OPEN = {"openat": 2, "open": 1}
"""The index of the argument that holds the flags."""
_CREATES = os.O_CREAT | os.O_TRUNC

_LOAD, _EQUALS, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_FIRST_ARGUMENT = 16
_NEW_LISTENER = 8
_NO_NEW_PRIVILEGES = 38
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTICE = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_GO_ON = 1


class Stop(Enum):
    """What the campaign does at the N-th call."""

    NOTHING = "count"
    KILL = "kill"
    TERMINATE = "term"
    INTERRUPT = "int"
    DISK_FULL = "full"


def is_supported() -> bool:
    """Return whether the campaign knows the system call numbers of this machine."""
    return bool(_NUMBERS)


@dataclass
class SyscallStop:
    """Counts the changes that a command makes below a folder, and stops it at one of them."""

    folder: Path
    stop: Stop = Stop.NOTHING
    at: int = 0
    """The number of the change at which to stop, from 1."""
    count: int = 0
    last: str = ""
    """The call at which the command was stopped, and its file."""

    def __post_init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._listener = -1
        self._is_closed = False

    def install(self) -> None:
        """Make the kernel ask before each change; the command's own process calls this."""
        libc = ctypes.CDLL(None, use_errno=True)
        program = _program()
        held = ctypes.create_string_buffer(program)
        described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        listener = libc.syscall(
            _NUMBERS["seccomp"], 1, _NEW_LISTENER, ctypes.create_string_buffer(described)
        )
        if listener < 0:
            raise OSError(ctypes.get_errno(), "seccomp's user notification is not available")
        socket.send_fds(self._theirs, [b"+"], [listener])
        os.close(listener)
        self._ours.close()
        self._theirs.close()

    def answer(self, pid: int) -> None:
        """Answer waiting calls, for a few milliseconds; `pid` is the command's process."""
        if self._is_closed:
            return
        if self._listener < 0 and not self._take_listener():
            return
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while (found := waiting.poll(5)) and found[0][1] & select.POLLIN:
            notice = bytearray(_NOTICE.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, notice)
            except OSError:
                return
            number, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
            error = self._decide(pid, thread, _NAMES.get(call, "?"), arguments)
            if error is None:
                return
            answer = _RESPONSE.pack(number, 0, -error, 0 if error else _GO_ON)
            with suppress(OSError):
                fcntl.ioctl(self._listener, _SEND, bytearray(answer))

    def close(self) -> None:
        """Close the listener; waiting calls fail."""
        self._is_closed = True
        for one in (self._ours, self._theirs):
            one.close()
        if self._listener >= 0:
            os.close(self._listener)

    def _take_listener(self) -> bool:
        if not select.select([self._ours], [], [], 0.05)[0]:
            return False
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        if descriptors:
            self._listener = descriptors[0]
        return bool(descriptors)

    def _decide(self, pid: int, thread: int, call: str, arguments: list[int]) -> int | None:
        """Return the error number of a call, 0 to continue it, or None to send no answer."""
        if call in _OF_DESCRIPTORS:
            try:
                path = str(Path(f"/proc/{thread}/fd/{arguments[0]}").readlink())
            except OSError:
                return 0
            if not path.startswith(f"{self.folder}/"):
                return 0
        else:
            path = ""
        self.count += 1
        if self.stop is Stop.NOTHING or self.count < self.at:
            return 0
        if self.stop is Stop.DISK_FULL:
            self.last = self.last or f"{call} {path}"
            return errno.ENOSPC if call in _TAKES_ROOM else 0
        if self.count > self.at:
            return 0
        self.last = f"{call} {path}"
        numbers = {Stop.KILL: signal.SIGKILL, Stop.TERMINATE: signal.SIGTERM}
        with suppress(
            ProcessLookupError
        ):  # the command has ended, and one of its processes goes on
            os.kill(pid, numbers.get(self.stop, signal.SIGINT))
        return None if self.stop is Stop.KILL else 0


def _program() -> bytes:
    """Return the filter program: BPF instructions with their jumps if true and if false."""
    lines: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, 0)]
    for name, number in _NUMBERS.items():
        if name == "seccomp":
            continue
        if name in _FLAGS_OF_OPEN:
            flags = _FIRST_ARGUMENT + 8 * _FLAGS_OF_OPEN[name]
            lines += [
                (_EQUALS, 0, 4, number),
                (_LOAD, 0, 0, flags),
                (_ANY_BIT, 0, 1, _CREATES),
                (_RETURN, 0, 0, _NOTIFY),
                (_RETURN, 0, 0, _ALLOW),
            ]
        else:
            lines += [(_EQUALS, 0, 1, number), (_RETURN, 0, 0, _NOTIFY)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)
