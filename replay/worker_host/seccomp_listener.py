"""The parent's side of a worker's seccomp filter: answers the calls that the filter reports.

The kernel stops a reported call and waits for the answer. A call that reaches only the worker's own
processes continues; every other call is refused, and reported as a blocked attempt.
"""

import errno
import fcntl
import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass

from replay.worker.environment import landlock, syscall_table

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTICE = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_CONTINUE = 1
_FAMILIES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
_TARGETS = {
    "kill": 0,
    "tkill": 0,
    "tgkill": 0,
    "rt_sigqueueinfo": 0,
    "rt_tgsigqueueinfo": 0,
    "sched_setaffinity": 0,
    "sched_setparam": 0,
    "sched_setscheduler": 0,
    "sched_setattr": 0,
    "setpriority": 1,
}
"""Calls that act on a process or thread, and the index of the argument that names it."""
_OPENS = {"open": (0, 1), "openat": (1, 2)}
"""Indexes of the arguments with the path and the flags."""
_OWN_DESCRIPTORS = ("/dev/fd/", "/proc/self/fd/", "/dev/stdout", "/dev/stderr", "/dev/stdin")
_SOCKETS = frozenset(("socket", "socketpair", "sendto", "connect", "bind", "listen"))
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class BlockedCall:
    """A system call of native code that was refused."""

    what: str
    """Group and attempt, such as `socket.new` or `file.chmod`."""
    request: str
    """Target of the call, if known: a family, a path, a process; else empty."""
    how: str
    """What native code did, as a clause without a final period."""


class SeccompListener:
    """Answers the calls that one worker's filter reports, in its own thread."""

    def __init__(
        self,
        descriptor: int,
        session: int,
        report: Callable[[BlockedCall], None],
        *,
        keeps_files: bool,
    ) -> None:
        """`session` is the worker's session; `keeps_files`: landlock alone already refuses writes."""
        self._descriptor = descriptor
        self._session = session
        self._report = report
        self._keeps_files = keeps_files
        self._names = syscall_table.call_names(os.uname().machine)

    def run(self) -> None:
        """Answer calls until all processes that could call have ended."""
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        try:
            while waiting.poll()[0][1] & select.POLLIN:
                notice = bytearray(_NOTICE.size)
                try:
                    fcntl.ioctl(self._descriptor, _RECEIVE, notice)
                    answer = self._answer(notice)
                    fcntl.ioctl(self._descriptor, _SEND, answer)
                except FileNotFoundError:
                    continue  # the caller was interrupted, or has ended
        except OSError:
            pass  # all callers have ended before the answer
        finally:
            os.close(self._descriptor)

    def _answer(self, notice: bytearray) -> bytearray:
        number, caller, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        name = self._names.get(call, str(call))
        if name in _TARGETS and self._is_own(_signed(arguments[_TARGETS[name]])):
            return bytearray(_RESPONSE.pack(number, 0, 0, _CONTINUE))
        if name in _OPENS:
            path = _text_at(caller, arguments[_OPENS[name][0]])
            goes_on = path in landlock.WRITABLE
            goes_on |= self._keeps_files and path.startswith(_OWN_DESCRIPTORS)
            if goes_on:
                return bytearray(_RESPONSE.pack(number, 0, 0, _CONTINUE))
            self._report(BlockedCall("file.write", path, f"native code wanted to write {path!r}"))
            return bytearray(_RESPONSE.pack(number, 0, -errno.EACCES, 0))
        self._report(_blocked(name, caller, arguments))
        return bytearray(_RESPONSE.pack(number, 0, -errno.EPERM, 0))

    def _is_own(self, target: int) -> bool:
        """Whether a process or thread belongs to the worker's session, which it can't leave."""
        if target <= 0:
            return False
        try:
            with open(f"/proc/{target}/stat", "rb") as stream:  # noqa: PTH123 - while a call waits
                fields = stream.read().rpartition(b")")[2].split()
        except OSError:
            return True  # no such process: let the kernel report that
        return int(fields[3]) == self._session


def _blocked(name: str, caller: int, arguments: list[int]) -> BlockedCall:
    if name == "socket":
        family = _FAMILIES.get(arguments[0] & 0xFFFFFFFF, str(arguments[0]))
        return BlockedCall("socket.new", family, "native code wanted a socket")
    how = f"native code called {name}"
    if name in _SOCKETS:
        return BlockedCall(f"socket.{name}", "", how)
    if name in _TARGETS:
        return BlockedCall(f"process.{name}", str(_signed(arguments[_TARGETS[name]])), how)
    if name in _PATHS:
        return BlockedCall(f"file.{name}", _text_at(caller, arguments[_PATHS[name]]), how)
    return BlockedCall(f"kernel.{name}", "", how)


_FIRST_IS_PATH = """
creat truncate rename link unlink symlink mkdir rmdir mknod chmod chown lchown utime utimes
setxattr lsetxattr removexattr lremovexattr
"""
_SECOND_IS_PATH = """
renameat renameat2 linkat unlinkat mkdirat mknodat fchmodat fchmodat2 fchownat futimesat utimensat
setxattrat removexattrat file_setattr
"""
_PATHS = {
    **dict.fromkeys(_FIRST_IS_PATH.split(), 0),
    **dict.fromkeys(_SECOND_IS_PATH.split(), 1),
}
"""Calls that change a file by path, and the index of the argument with the path."""


def _signed(value: int) -> int:
    """Return the process id in a register; the kernel reads its low 32 bits as a signed number."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low & (1 << 31) else low


def _text_at(process: int, address: int) -> str:
    """Return a zero-terminated text in another process's memory; empty if it can't be read."""
    try:
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - as above
            memory.seek(address)
            page = memory.read(_LONGEST_PATH - address % _LONGEST_PATH)
            if b"\0" not in page:
                page += memory.read(_LONGEST_PATH)
    except (OSError, OverflowError, ValueError):
        return ""
    return page.partition(b"\0")[0].decode("utf-8", "replace")
