"""Attempts to escape from the sandbox, as small programs, for these tests and longer campaigns.

Each is Python code that can use `libc` (ctypes), `os`, `socket`, `ctypes`, `struct` and `fcntl`, and the
names `PARENT` (the process id of refold), `TERMINAL` (the path of a terminal of the user) and `FILE` (a
file of the user). It sets `result` to True if it escaped. `MULTIPLIED` lists the ways to run the same
program: in the handler, in a thread and in a child process.
"""

import textwrap
from dataclasses import dataclass

HELD = "held"
"""The expected outcome on Linux at level 2: the program ends or raises OSError without escaping."""


@dataclass(frozen=True)
class Escape:
    """One attempt to escape."""

    name: str
    code: str
    expected: str = HELD
    is_reported: bool = False
    """Whether `refold calls` lists the attempt when native code makes it."""


def _call(name: str, arguments: str) -> str:
    """Return a program that makes a system call; it escapes unless the kernel refuses the call."""
    return (
        f"done = libc.syscall(NUMBERS[{name!r}], {arguments})\n"
        "result = done >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS)"
    )


ESCAPES = (
    Escape("socket of four", "result = libc.socket(2, 1, 0) >= 0", is_reported=True),
    Escape("socket of six", "result = libc.socket(10, 2, 0) >= 0", is_reported=True),
    Escape("unix socket", "result = libc.socket(1, 1, 0) >= 0", is_reported=True),
    Escape("netlink socket", "result = libc.socket(16, 3, 0) >= 0", is_reported=True),
    Escape("vsock socket", "result = libc.socket(40, 1, 0) >= 0", is_reported=True),
    Escape(
        "datagrams of a pair",
        "pair = (ctypes.c_int * 2)()\nresult = libc.socketpair(1, 2, 0, pair) == 0",
        is_reported=True,
    ),
    Escape(
        "datagram to an address",
        """
        pair = (ctypes.c_int * 2)()
        assert libc.socketpair(1, 1, 0, pair) == 0
        address = b"\\x01\\x00/tmp/none\\x00"
        result = libc.sendto(pair[0], b"x", 1, 0, address, len(address)) >= 0
        """,
        is_reported=True,
    ),
    Escape(
        "pair bound to a name",
        """
        pair = (ctypes.c_int * 2)()
        assert libc.socketpair(1, 1, 0, pair) == 0
        result = libc.bind(pair[0], b"\\x01\\x00\\x00refold", 9) == 0
        """,
        is_reported=True,
    ),
    Escape("signal to refold", "result = libc.kill(PARENT, 0) == 0", is_reported=True),
    Escape("signal to everybody", "result = libc.kill(-1, 0) == 0", is_reported=True),
    Escape("signal to init", "result = libc.kill(1, 0) == 0", is_reported=True),
    Escape("signal to refold's thread", _call("tgkill", "PARENT, PARENT, 0"), is_reported=True),
    Escape("queued signal", _call("rt_sigqueueinfo", "PARENT, 1, (ctypes.c_char * 128)()")),
    Escape(
        "signal by a descriptor's owner",
        "result = libc.fcntl(0, 8, PARENT) == 0",
        is_reported=True,
    ),
    Escape("signal by a process descriptor", _call("pidfd_send_signal", "0, 0, None, 0")),
    Escape("limits of refold", _call("prlimit64", "PARENT, 7, None, None"), is_reported=True),
    Escape(
        "limit of its own memory",
        "result = libc.syscall(NUMBERS['prlimit64'], 0, 2, struct.pack('QQ', 2**50, 2**50), None) == 0",
        is_reported=True,
    ),
    Escape("priority of refold", "result = libc.setpriority(0, PARENT, 19) == 0", is_reported=True),
    Escape("priority of its user", "result = libc.setpriority(2, 0, 19) == 0", is_reported=True),
    Escape("processors of refold", _call("sched_setaffinity", "PARENT, 8, struct.pack('Q', 1)")),
    Escape("scheduler of refold", _call("sched_setscheduler", "PARENT, 0, struct.pack('i', 0)")),
    Escape("tracing refold", _call("ptrace", "1, PARENT, None, None"), is_reported=True),
    Escape("memory of refold", "result = bool(open(f'/proc/{PARENT}/mem', 'rb'))"),
    Escape("memory of refold by a call", _call("process_vm_readv", "PARENT, None, 0, None, 0, 0")),
    Escape("file", "result = libc.open(FILE, 0o2001) >= 0", is_reported=True),
    Escape("new file", "result = libc.open(FILE + b'.new', 0o101, 0o644) >= 0", is_reported=True),
    Escape(
        "file cut while it is opened", "result = libc.open(FILE, 0o1000) >= 0", is_reported=True
    ),
    Escape("truncate", "result = libc.truncate(FILE, 0) == 0", is_reported=True),
    Escape("unlink", "result = libc.unlink(FILE) == 0", is_reported=True),
    Escape("rename", "result = libc.rename(FILE, FILE + b'.new') == 0", is_reported=True),
    Escape("link", "result = libc.link(FILE, FILE + b'.new') == 0", is_reported=True),
    Escape("mkdir", "result = libc.mkdir(FILE + b'.new', 0o755) == 0", is_reported=True),
    Escape("chmod", "result = libc.chmod(FILE, 0o600) == 0", is_reported=True),
    Escape(
        "chmod of what is read",
        "fd = libc.open(FILE, 0)\nresult = libc.fchmod(fd, 0o600) == 0",
        is_reported=True,
    ),
    Escape(
        "attribute", "result = libc.setxattr(FILE, b'user.x', b'1', 1, 0) == 0", is_reported=True
    ),
    Escape("attribute by setxattrat", _call("setxattrat", "-100, FILE, 0, b'user.x', None, 0")),
    Escape("attribute by removexattrat", _call("removexattrat", "-100, FILE, 0, b'user.x'")),
    Escape("attribute by file_setattr", _call("file_setattr", "-100, FILE, None, 0, 0")),
    Escape(
        "flags of a file",
        "fd = libc.open(FILE, 0)\nresult = libc.ioctl(fd, 0x40086602, struct.pack('q', 0x80)) == 0",
        is_reported=True,
    ),
    Escape("time of a file", "result = libc.utimes(FILE, None) == 0", is_reported=True),
    Escape(
        "lock of a file",
        "fd = libc.open(FILE, 0)\nresult = libc.flock(fd, 6) == 0",
        is_reported=True,
    ),
    Escape("shared memory", _call("shmget", "0x7ef01d, 64, 0o1600"), is_reported=True),
    Escape("shared memory of others", _call("shmat", "0, None, 0"), is_reported=True),
    Escape("queue", _call("msgget", "0x7ef01d, 0o1600"), is_reported=True),
    Escape("semaphores", _call("semget", "0x7ef01d, 1, 0o1600"), is_reported=True),
    Escape("key of the session", _call("keyctl", "0, -3, 0"), is_reported=True),
    Escape("new key", _call("add_key", "b'user', b'refold', b'x', 1, -3"), is_reported=True),
    Escape("io_uring", "result = libc.syscall(425, 8, (ctypes.c_char * 120)()) >= 0"),
    Escape("memory without a file", "result = libc.syscall(MEMFD, b'x', 0) >= 0"),
    Escape("terminal", "result = libc.open(TERMINAL, 0o400) >= 0"),
    Escape("its own terminal", "result = libc.open(b'/dev/tty', 0) >= 0"),
    Escape("typing into a terminal", "result = libc.ioctl(0, 0x5412, b'x') == 0", is_reported=True),
    Escape(
        "pasting into a console", "result = libc.ioctl(0, 0x541C, b'\\x03') == 0", is_reported=True
    ),
    Escape("taking a terminal", "result = libc.ioctl(0, 0x540E, 1) == 0", is_reported=True),
    Escape("session of its own", "result = libc.setsid() >= 0", is_reported=True),
    Escape("group of its own", "result = libc.setpgid(0, 0) >= 0", is_reported=True),
    Escape("namespace", "result = libc.unshare(0x10000000) == 0", is_reported=True),
    Escape(
        "child in a namespace",
        _call("clone", "0x10000011, None, None, None, None"),
        is_reported=True,
    ),
    Escape("sibling", _call("clone", "0x8011, None, None, None, None"), is_reported=True),
    Escape(
        "clone3", "result = libc.syscall(435, None, 0) >= 0 or ctypes.get_errno() != errno.ENOSYS"
    ),
    Escape(
        "mount", "result = libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0", is_reported=True
    ),
    Escape("program of the kernel", _call("bpf", "0, None, 0"), is_reported=True),
    Escape(
        "size of the shared page",
        "result = any(libc.ftruncate(fd, size) == 0 for fd in MARKS for size in (0, 1 << 30))",
    ),
)

# Ways to run a program; {code} is the program, which sets `result`.
MULTIPLIED = {
    "handler": "{code}",
    "thread": """
import threading
def _run():
    global result
    try:
{indented}
    except OSError:
        pass
_thread = threading.Thread(target=_run)
_thread.start()
_thread.join()
""",
    "child": """
_child = libc.fork()
if _child == 0:
    try:
{indented}
    except BaseException:
        result = False
    libc._exit(42 if result else 0)
_status = ctypes.c_int()
libc.waitpid(_child, ctypes.byref(_status), 0)
result = (_status.value >> 8) == 42
""",
}

_PRELUDE = """
import ctypes, errno, fcntl, glob, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
PARENT, TERMINAL, FILE = {parent}, {terminal!r}, {file!r}
NUMBERS, MEMFD = {numbers}, {memfd}
MARKS = [int(n) for n in os.listdir("/proc/self/fd") if "memfd:" in _link(n)] if {is_linux} else []
result = False
"""
_LINK = """
import os
def _link(name):
    try:
        return os.readlink("/proc/self/fd/" + name)
    except OSError:
        return ""
"""


def program(escape: Escape, parent: int, terminal: str, file: str, way: str = "handler") -> str:
    """Return the source of a program that tries one escape in one way, and sets `result`."""
    import os
    import sys

    from replay.worker.environment import syscall_table

    machine = os.uname().machine
    names = syscall_table.call_names(machine)
    numbers = {name: number for number, name in names.items()}
    code = textwrap.dedent(escape.code).strip()
    body = MULTIPLIED[way].format(code=code, indented=textwrap.indent(code, " " * 8))
    prelude = _PRELUDE.format(
        parent=parent,
        terminal=terminal.encode(),
        file=file.encode(),
        numbers=numbers,
        memfd=319 if machine == "x86_64" else 279,
        is_linux=sys.platform == "linux",
    )
    return _LINK + prelude + body
