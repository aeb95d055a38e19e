"""Isolation level 2, on Linux: sandboxes this process and then executes the user's interpreter.

refold's interpreter runs it, because the user's may lack ctypes; its arguments are a JSON object (see
`_main`), the program and the program's arguments. seccomp(2) allows only what a worker needs
(`seccomp_filter`), landlock(7) protects files and terminals (`landlock`), and the process can't raise
its memory limit. The launcher then tries every way out that it knows and reports which failed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

if __package__:
    from . import landlock, memory_limit, seccomp_filter, syscall_table
else:  # run by path: these modules are in the same folder
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import landlock  # type: ignore[import-not-found, no-redef]
    import memory_limit  # type: ignore[import-not-found, no-redef]
    import seccomp_filter  # type: ignore[import-not-found, no-redef]
    import syscall_table  # type: ignore[import-not-found, no-redef]

    del sys.path[0]

_NO_NEW_PRIVILEGES = 38
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2
_TAKE_TERMINAL = 0x540E
_IO_URING_SETUP = 425
_TERMINAL_READ = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK


def restrict_process(
    *,
    with_listener: bool = False,
    all_threads: bool = False,
    readable: Optional[Sequence[str]] = None,
) -> Tuple[Dict[str, Any], Optional[int]]:
    """Sandbox this process; return a report, and the descriptor of the seccomp listener or None.

    The report has `level`, 1 or 2; `files`, whether files are protected; and `why` the level isn't 2.
    With `readable`, the process can read only these files and folders. `with_listener` asks for a
    listener of refused calls, `all_threads` sandboxes threads that already run.
    """
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in seccomp_filter.SECCOMP_CALL:
        return {"level": 1, "files": False, "why": f"{sys.platform} on {machine}"}, None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return {"level": 1, "files": False, "why": "the kernel refuses it"}, None
    files = landlock.restrict_files(libc, readable)
    listener = seccomp_filter.install_filter(
        libc, machine, is_listening=with_listener, all_threads=all_threads
    )
    if listener is None:
        why = f"seccomp: {os.strerror(ctypes.get_errno())}"
        return {"level": 1, "files": files, "why": why}, None
    return {"level": 2, "files": files, "why": ""}, listener or None


def verify_restrictions(report: Dict[str, Any]) -> Dict[str, Any]:
    """Return the report, corrected by trying every way out as native code would."""
    if report["level"] != 2:
        return report
    libc = ctypes.CDLL(None, use_errno=True)
    if report["files"] and any(_opens(libc, path, os.O_WRONLY) for path in _own_files()):
        report = {**report, "files": False}
    escapes = [name for name, succeeds in _list_escapes(libc) if succeeds()]
    if escapes:
        report = {**report, "level": 1, "why": f"{', '.join(escapes)} all the same"}
    return report


def _list_escapes(libc: Any) -> Iterator[Tuple[str, Callable[[], bool]]]:
    """Yield each way out: what it would allow, and a function that tries it without harm."""
    parent = os.getppid()
    names = syscall_table.call_names(os.uname().machine)
    numbers = {name: number for number, name in names.items()}

    def reaches_kernel(number: int, *arguments: Any) -> bool:
        result = libc.syscall(number, *arguments)
        return result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS)

    for family in (_UNIX, _INET, _INET6, _NETLINK):
        yield "a socket can be made", lambda f=family: _gives(libc.socket(f, _STREAM, 0))  # type: ignore[misc]
    pair = (ctypes.c_int * 2)()
    yield "datagrams can be sent", lambda: libc.socketpair(_UNIX, _DATAGRAM, 0, pair) == 0
    yield "refold can be signalled", lambda: libc.kill(parent, 0) == 0
    yield "refold's memory can be read", lambda: _opens(libc, f"/proc/{parent}/mem", os.O_RDONLY)
    for what, name, arguments in (
        ("refold's limits can be changed", "prlimit64", (parent, 8, None, None)),
        ("refold's processors can be changed", "sched_setaffinity", (parent, 8, None)),
        ("refold can be traced", "ptrace", (1, parent, None, None)),
        ("shared memory can be made", "shmget", (0, 0, 0)),
        ("keys can be read", "keyctl", (0, -3, 0)),
    ):
        yield what, lambda n=numbers[name], a=arguments: reaches_kernel(n, *a)  # type: ignore[misc]
    yield "io_uring can be used", lambda: reaches_kernel(_IO_URING_SETUP, 0, None)
    for terminal in _terminals():
        yield "a terminal can be read", lambda t=terminal: _opens(libc, t, _TERMINAL_READ)  # type: ignore[misc]


def _own_files() -> List[str]:
    return [os.path.abspath(__file__), sys.executable]


def _terminals() -> List[str]:
    """Return the controlling terminal and a few of the terminals of logged-in users."""
    try:
        names = [name for name in os.listdir("/dev/pts") if name.isdigit()]
    except OSError:
        names = []
    return ["/dev/tty", *(f"/dev/pts/{name}" for name in names[:8])]


def _opens(libc: Any, path: str, flags: int) -> bool:
    return _gives(libc.open(os.fsencode(path), flags | os.O_CLOEXEC))


def _gives(descriptor: int) -> bool:
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


def _main() -> None:
    """Sandbox this process, report to the parent, and execute the program.

    The first argument is a JSON object with `parent`, the descriptor of a socket to the parent, and
    optionally `memory`, the memory limit in bytes; `terminal`, whether standard input becomes the
    controlling terminal; and `readable`, the only files and folders that can be read.
    """
    import _socket  # noqa: PLC0415 - loads faster than `socket`
    from array import array  # noqa: PLC0415 - only this program needs it, not importers of its functions

    spec = json.loads(sys.argv[1])
    parent = _socket.socket(fileno=spec["parent"])
    if spec.get("terminal"):
        import fcntl  # noqa: PLC0415 - only a terminal needs it

        fcntl.ioctl(0, _TAKE_TERMINAL, 0)
    if spec.get("memory"):
        memory_limit.limit_memory(spec["memory"])
    report, listener = restrict_process(with_listener=True, readable=spec.get("readable"))
    text = b"files" if report["files"] else b"-"
    if listener is not None:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [listener]).tobytes())]
        parent.sendmsg([text], rights)
        os.close(listener)
    else:
        parent.sendmsg([text])
    parent.sendmsg([json.dumps(verify_restrictions(report)).encode()])
    parent.close()
    try:
        os.execv(sys.argv[2], sys.argv[3:])  # noqa: S606 - becomes the user's interpreter
    except OSError as error:
        print(f"{sys.argv[3]}: {error.strerror}", file=sys.stderr)
        sys.exit(126)


if __name__ == "__main__":
    _main()
