"""The seccomp filter of a worker: the allowed system calls, with rules for their arguments.

The filter is a classic BPF program. It allows a call, refuses it with an error number, or reports it
to the parent, which refuses it or lets the kernel continue.
Standard library only.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

if __package__:
    from . import syscall_table
else:  # the launcher runs by path
    import syscall_table  # type: ignore[import-not-found, no-redef]

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}

_ALLOW, _ERROR, _REPORT = 0x7FFF0000, 0x00050000, 0x7FC00000
_LOAD, _AND, _EQUALS, _AT_LEAST, _ABOVE, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
"""System call numbers from here on belong to the x32 ABI."""
_LISTENER, _ALL_THREADS, _SET_FILTER = 8, 1, 1

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NEW_NAMESPACES = 0x7E020080
_CLONE_PARENT = 0x8000
_UNIX, _STREAM, _SEQUENCED = 1, 1, 5
_KIND_OF_SOCKET = 0xF
_SETTABLE_LIMITS = (3, 4, 7)
"""RLIMIT_STACK, RLIMIT_CORE and RLIMIT_NOFILE: none of them lets a process take more memory."""
_FCNTL = (*range(8), 9, 16, 36, 37, 38, 1025, 1027, 1030, 1031, 1032, 1033, 1034)
"""Duplicates, flags, locks, pipes and seals; not owners, signals, leases and notifications."""
_FCNTL_REFUSED = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: they signal or block other processes."""
_IOCTL = (
    *(0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5409, 0x540A, 0x540B, 0x540F, 0x5410, 0x5411),
    *(0x5413, 0x541B, 0x5421, 0x5424, 0x5429, 0x5450, 0x5451),
    *(0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D, 0x80086601),
)
"""Modes and sizes of terminals, bytes waiting, blocking and close-on-exec, attributes read."""
_IOCTL_REFUSED = (
    *(0x5412, 0x541C, 0x540E, 0x5423, 0x541D, 0x8901, 0x8902, 0x5452),
    *(0x40086602, 0x40046602, 0x401C5820, 0x40049409, 0x4020940D),
)
"""TIOCSTI, TIOCLINUX, TIOCSCTTY, TIOCSETD, TIOCCONS, FIOSETOWN, SIOCSPGRP, FIOASYNC,
FS_IOC_SETFLAGS (and of 32 bits), FS_IOC_FSSETXATTR, FICLONE, FICLONERANGE."""
_PRCTL = (1, 2, 3, 4, 15, 16, 21, 23, 29, 30, 38, 39, 41, 42, 47, 56, 0x53564D41)
"""Names, death signals, dumpability, timer slack, huge pages, capabilities read."""

Line = Tuple[int, int, int, int]


class Rule(NamedTuple):
    """One comparison of an argument: the answer if it has one of the values, and if it has none.

    An answer of None continues with the next rule.
    """

    argument: int
    values: Tuple[int, ...]
    if_equal: Optional[int] = None
    if_not: Optional[int] = None
    mask: Optional[int] = None
    is_upper_half: bool = False


def _error(number: int) -> int:
    return _ERROR | number


def build_filter(machine: str, pid: int, *, is_reported: bool) -> bytes:
    """Return the program for the worker with this process id.

    With `is_reported`, refused calls are reported to a listener in the parent.
    """
    refused = _REPORT if is_reported else _error(errno.EPERM)
    lines: List[Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUALS, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _error(errno.EPERM)),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _error(errno.EPERM)),
    ]
    checked = syscall_table.checked_calls(machine)
    rules = _build_rules(pid, refused, is_reported=is_reported)
    for name, number in checked.items():
        block = [line for rule in rules[name] for line in _build_comparison(rule)]
        lines += [(_EQUALS, 0, len(block), number), *block]
    for first, last in _merge_ranges(syscall_table.refused_calls(machine)):
        lines += _build_range_answer(first, last, refused)
    for first, last in _merge_ranges(syscall_table.allowed_calls(machine)):
        lines += _build_range_answer(first, last, _ALLOW)
    lines.append((_RETURN, 0, 0, _error(errno.ENOSYS)))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def install_filter(
    libc: Any, machine: str, *, is_listening: bool, all_threads: bool
) -> Optional[int]:
    """Install the filter; return the listener's descriptor, 0 without one, None if refused.

    If the kernel or a container allows no listener, the filter itself refuses the calls.
    """
    import ctypes  # noqa: PLC0415 - some Pythons are built without it

    program = build_filter(machine, os.getpid(), is_reported=is_listening)
    program_buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(program_buffer))
    flags = _LISTENER if is_listening else _ALL_THREADS if all_threads else 0
    header_buffer = ctypes.create_string_buffer(header, len(header))
    result = int(libc.syscall(SECCOMP_CALL[machine], _SET_FILTER, flags, header_buffer))
    if result < 0 and is_listening:
        return install_filter(libc, machine, is_listening=False, all_threads=all_threads)
    return None if result < 0 else result if is_listening else 0


def _build_rules(pid: int, refused: int, *, is_reported: bool) -> Dict[str, List[Rule]]:
    """Return the rules of every checked call; the last rule of each always answers."""
    group = (1 << 32) - pid
    own_process = Rule(0, (0, pid), _ALLOW, refused)
    thread = Rule(0, (pid,), _ALLOW, refused)
    write = _REPORT if is_reported else _ALLOW  # without a listener landlock refuses it
    limits = [
        Rule(1, _SETTABLE_LIMITS, _ALLOW),
        Rule(2, (0,), None, refused),
        Rule(2, (0,), _ALLOW, refused, is_upper_half=True),
    ]
    return {
        "open": [Rule(1, (0,), _ALLOW, write, mask=WRITE_FLAGS)],
        "openat": [Rule(2, (0,), _ALLOW, write, mask=WRITE_FLAGS)],
        "kill": [Rule(0, (0, pid, group), _ALLOW, refused)],
        "tkill": [thread],
        "tgkill": [thread],
        "rt_sigqueueinfo": [thread],
        "rt_tgsigqueueinfo": [thread],
        "sched_setaffinity": [own_process],
        "sched_setparam": [own_process],
        "sched_setscheduler": [own_process],
        "sched_setattr": [own_process],
        "setpriority": [Rule(0, (0,), None, refused), Rule(1, (0, pid), _ALLOW, refused)],
        "prlimit64": [Rule(0, (0, pid), None, refused), *limits],
        "setrlimit": [Rule(0, _SETTABLE_LIMITS, _ALLOW, refused)],
        "fcntl": [Rule(1, _FCNTL_REFUSED, refused), Rule(1, _FCNTL, _ALLOW, _error(errno.EINVAL))],
        "ioctl": [Rule(1, _IOCTL_REFUSED, refused), Rule(1, _IOCTL, _ALLOW, _error(errno.ENOTTY))],
        "prctl": [Rule(0, _PRCTL, _ALLOW, _error(errno.EINVAL))],
        "clone": [Rule(0, (0,), _ALLOW, refused, mask=_NEW_NAMESPACES | _CLONE_PARENT)],
        # A datagram socket can send to any address, which a filter can't read.
        "socketpair": [
            Rule(0, (_UNIX,), None, refused),
            Rule(1, (_STREAM, _SEQUENCED), _ALLOW, refused, mask=_KIND_OF_SOCKET),
        ],
        "sendto": [
            Rule(4, (0,), None, refused),
            Rule(4, (0,), _ALLOW, refused, is_upper_half=True),
        ],
    }


def _build_comparison(rule: Rule) -> List[Line]:
    """Return lines that load half of the argument, compare it with each value, and answer."""
    position = _ARGUMENTS + 8 * rule.argument + (4 if rule.is_upper_half else 0)
    lines: List[Line] = [(_LOAD, 0, 0, position)]
    if rule.mask is not None:
        lines.append((_AND, 0, 0, rule.mask))
    if rule.if_equal is not None:
        for value in rule.values:
            lines += [(_EQUALS, 0, 1, value), (_RETURN, 0, 0, rule.if_equal)]
    else:
        for index, value in enumerate(rule.values):
            lines.append((_EQUALS, len(rule.values) - index, 0, value))
    if rule.if_not is not None:
        lines.append((_RETURN, 0, 0, rule.if_not))
    return lines


def _build_range_answer(first: int, last: int, answer: int) -> List[Line]:
    """Return lines that answer all system call numbers from `first` to `last`."""
    return [(_AT_LEAST, 0, 2, first), (_ABOVE, 1, 0, last), (_RETURN, 0, 0, answer)]


def _merge_ranges(calls: Dict[str, int]) -> Iterable[Tuple[int, int]]:
    """Return ranges of consecutive call numbers, which keep the program short."""
    ranges: List[List[int]] = []
    for number in sorted(calls.values()):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [(first, last) for first, last in ranges]
