"""Limits of the process that parses untrusted files: memory, time, files, no access to processes.

The sandbox of workers (`replay.worker.environment`) allows what a worker needs and runs in the user's
interpreter. A parser may run no program and may write in its scratch folder, so it has its own rules; a
test checks that it is refused all that a worker is.

Standard library only. The kernel enforces each limit. A system may lack some of them (macOS has no
seccomp and no landlock, and limits no memory). The parser still runs in a separate process there,
because then a crash ends the parser and not refold.
"""

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

MEMORY_BYTES = 2 << 30
_SPARE_ADDRESSES = 16 << 30
"""Bytes of address space beside the mapped file; allocators reserve much more than they use."""
_MAX_OPEN_FILES = 256
_MAX_WRITTEN_BYTES = 64 << 30
"""Maximum bytes of a written file; sorting a large table spills into the scratch folder."""
_SECONDS = 10
_BYTES_PER_SECOND = 4 << 20

_NO_NEW_PRIVILEGES, _NOT_DUMPABLE, _SECCOMP_MODE, _FILTER_MODE = 38, 4, 22, 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_ENFORCE = 444, 445, 446
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
REFUSED_CALLS = {
    # socket, socketpair, connect, execve, execveat, fork, vfork, kill, tkill, ptrace, process_vm_*,
    # pidfd_open, pidfd_send_signal, pidfd_getfd, process_madvise, setpriority, sched_set*,
    # rt_sigqueueinfo, System V memory, queues and semaphores, keyrings, io_uring, bpf, userfaultfd,
    # perf_event_open, mount, and changes of files' modes, owners, attributes and times; then bind,
    # listen, setxattrat, removexattrat, file_setattr, process_mrelease, kcmp, shmdt, semtimedop,
    # mq_unlink, setsid, setpgid, unshare, setns, chroot, pivot_root, open_by_handle_at,
    # fanotify_init, mknod and mknodat
    "x86_64": (
        *(41, 53, 42, 59, 322, 57, 58, 62, 200, 101, 310, 311, 434, 424, 438, 440, 141, 142, 144),
        *(203, 314, 129, 297, 29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 240, 248, 249, 250, 425, 426),
        *(427, 321, 323, 298, 165, 166, 90, 91, 92, 93, 94, 260, 268, 452, 188, 189, 190, 197, 198),
        *(199, 132, 235, 261, 280, 49, 50, 463, 466, 469, 448, 312, 67, 220, 241, 112, 109, 272),
        *(308, 161, 155, 304, 300, 133, 259),
    ),
    "aarch64": (
        *(198, 199, 203, 221, 281, 129, 130, 117, 270, 271, 434, 424, 438, 440, 140, 118, 119),
        *(122, 274, 138, 240, 194, 195, 196, 190, 191, 193, 186, 187, 188, 189, 180, 217, 218, 219),
        *(425, 426, 427, 280, 282, 241, 40, 39, 52, 53, 54, 55, 452, 5, 6, 7, 14, 15, 16, 88, 200),
        *(201, 463, 466, 469, 448, 272, 197, 192, 181, 157, 154, 97, 268, 51, 41, 265, 262, 33),
    ),
}
_SELF_ONLY = {"x86_64": (302, 234), "aarch64": (261, 131)}
"""prlimit64 and tgkill, which name the process that they act on."""
_CLONE, _CLONE3 = {"x86_64": 56, "aarch64": 220}, 435
_CLONE_THREAD = 0x10000
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
"""On this error the C library falls back to the older call, whose flags a filter can check."""
_LOAD, _EQUALS, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OTHER_TABLE = 0x40000000
_WRITES = 0b1_1111_1111_0010
_WRITE_FILE, _REFER, _TRUNCATE, _IOCTL = 1 << 1, 1 << 13, 1 << 14, 1 << 15


def is_supported() -> bool:
    """Return whether the kernel can deny a parser sockets, programs and files."""
    if not sys.platform.startswith("linux") or os.uname().machine not in REFUSED_CALLS:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1) >= 1)


def allowed_seconds(size_bytes: int) -> int:
    """Return the seconds of processor time between two answers, for a file of this size."""
    return _SECONDS + size_bytes // _BYTES_PER_SECOND


def shut_in(size_bytes: int, writable: Sequence[str], memory_bytes: int = MEMORY_BYTES) -> None:
    """Limit this process for files up to `size_bytes`; it can write only in the `writable` folders."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, most in (
        ("RLIMIT_DATA", memory_bytes),
        ("RLIMIT_AS", size_bytes + _SPARE_ADDRESSES),
        ("RLIMIT_FSIZE", _MAX_WRITTEN_BYTES if writable else 0),
        ("RLIMIT_NOFILE", _MAX_OPEN_FILES),
    ):
        # macOS refuses some of these limits.
        with suppress(OSError, ValueError, AttributeError):
            limit = getattr(resource, name)
            hard = resource.getrlimit(limit)[1]
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (bound, bound))
    if sys.platform.startswith("linux"):
        _shut_in_by_kernel(writable)


def grant_seconds(seconds: int) -> None:
    """Grant this process more seconds of processor time; after them SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def _shut_in_by_kernel(writable: Sequence[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return
    libc.prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
    _forbid_writes(libc, writable)
    machine = os.uname().machine
    if machine in REFUSED_CALLS:
        program = _filter(machine)
        text = ctypes.create_string_buffer(program)
        header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
        libc.prctl(_SECCOMP_MODE, _FILTER_MODE, ctypes.create_string_buffer(header), 0, 0)


def _filter(machine: str) -> bytes:
    """Return the seccomp program; each instruction says how many to skip if true, and if false."""
    lines = [
        (_LOAD, 0, 0, 4),
        (_EQUALS, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _OTHER_TABLE),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in REFUSED_CALLS[machine]:
        lines += [(_EQUALS, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    prlimit, tgkill = _SELF_ONLY[machine]
    for number, own in ((prlimit, 0), (tgkill, os.getpid())):
        lines += [
            (_EQUALS, 0, 4, number),
            (_LOAD, 0, 0, 16),
            (_EQUALS, 1, 0, own),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    lines += [
        (_EQUALS, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUALS, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, 16),
        (_HAS_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _forbid_writes(libc: ctypes.CDLL, writable: Sequence[str]) -> None:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    handled = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("Q", handled | (_IOCTL if version >= 5 else 0))
    rules += struct.pack("Q", 0b11) if version >= 4 else b""
    rules += struct.pack("Q", 0b11) if version >= 6 else b""
    held = ctypes.create_string_buffer(rules, len(rules))
    ruleset = libc.syscall(_LANDLOCK_CREATE, held, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return
    for path, rights in (("/dev/null", _WRITE_FILE), *((path, handled) for path in writable)):
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
        os.close(descriptor)
    libc.syscall(_LANDLOCK_ENFORCE, ruleset, 0)
    os.close(ruleset)
