"""Shuts a process in and then becomes the user's interpreter: level 2 of the clean room, on Linux.

Run by refold's own interpreter, as the user's may lack ctypes, with a socket to the parent, the
program and its arguments. No code in it, nor in what it starts, can then make a socket of any
family, trace another process, or write, make or remove a file, whatever language it is written in.
seccomp(2) refuses sockets (those of IP are told to the parent first, through a listener that it is
given), and landlock(7) files. What the kernel doesn't let us do is said, and level 1 is left.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from typing import Any, Dict, List, Optional, Tuple

_NO_NEW_PRIVILEGES = 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_REFUSED = {
    # io_uring_setup, ptrace, process_vm_writev, pidfd_getfd, open_by_handle_at, userfaultfd, bpf;
    # changing modes, owners, times and attributes of files; shared memory and queues that outlive it
    "x86_64": (
        *(425, 101, 311, 438, 304, 323, 321),
        *(90, 91, 92, 93, 94, 260, 268, 452, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199),
        *(29, 64, 68, 240),
    ),
    "aarch64": (
        *(425, 117, 271, 438, 265, 282, 280),
        *(52, 53, 54, 55, 452, 88, 5, 6, 7, 14, 15, 16),
        *(194, 190, 186, 180),
    ),
}
_ALLOW, _REFUSE, _TELL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x7FC00000
_LOAD, _EQUALS, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_UNIX, _INET, _INET6 = 1, 2, 10
_OTHER_TABLE = 0x40000000
"""Calls from here on are those of x32."""
_LISTENER, _ALL_THREADS = 8, 1

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_ENFORCE = 444, 445, 446
_WRITES = 0b1_1111_1111_0010
"""Writing files, removing and making whatever there is in a folder; without the rights that came
later: to move between folders, to truncate."""
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_TCP, _SCOPES = 0b11, 0b11
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty")


def shut(
    *, listening: bool = False, all_threads: bool = False
) -> Tuple[Dict[str, Any], Optional[int]]:
    """Shut this process in; what came of it, and a descriptor that tells of refused sockets.

    Says `level`, 1 or 2; whether `files` can't be written; and `why` where it could not be done.
    """
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in _SECCOMP:
        return {"level": 1, "files": False, "why": f"{sys.platform} on {machine}"}, None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return {"level": 1, "files": False, "why": "the kernel refuses it"}, None
    files = _no_writes(libc)
    listener = _no_sockets(libc, machine, listening=listening, all_threads=all_threads)
    if listener is None:
        why = f"seccomp: {os.strerror(ctypes.get_errno())}"
        return {"level": 1, "files": files, "why": why}, None
    return {"level": 2, "files": files, "why": ""}, listener if listening else None


def _no_sockets(libc: Any, machine: str, *, listening: bool, all_threads: bool) -> Optional[int]:
    program = _filter(machine, _TELL if listening else _REFUSE)
    text = ctypes.create_string_buffer(program)
    wanted = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
    flags = _LISTENER if listening else _ALL_THREADS if all_threads else 0
    found = libc.syscall(_SECCOMP[machine], 1, flags, ctypes.create_string_buffer(wanted))
    if found < 0 and listening:
        return _no_sockets(libc, machine, listening=False, all_threads=all_threads)
    return None if found < 0 else int(found)


def _filter(machine: str, of_ip: int) -> bytes:
    """A program for seccomp: instructions that skip so many others where true, and where false."""
    refused = _REFUSED[machine]
    lines: List[Tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUALS, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _OTHER_TABLE),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in refused:
        lines += [(_EQUALS, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    lines += [
        (_EQUALS, 0, 5, _SOCKET[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUALS, 1, 0, _INET),
        (_EQUALS, 0, 1, _INET6),
        (_RETURN, 0, 0, of_ip),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _no_writes(libc: Any) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("Q", handled)
    if version >= 4:
        rules += struct.pack("Q", _TCP)
    if version >= 6:
        rules += struct.pack("Q", _SCOPES)
    held = ctypes.create_string_buffer(rules, len(rules))
    ruleset = libc.syscall(_LANDLOCK_CREATE, held, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    for device in _DEVICES:
        try:
            place = os.open(device, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rule = ctypes.create_string_buffer(struct.pack("=Qi", _WRITE_FILE, place))
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
        os.close(place)
    enforced = libc.syscall(_LANDLOCK_ENFORCE, ruleset, 0)
    os.close(ruleset)
    return bool(enforced == 0)


def tried(said: Dict[str, Any]) -> Dict[str, Any]:
    """What was said, corrected by trying to get out as a native client would."""
    libc = ctypes.CDLL(None, use_errno=True)
    if said["level"] == 2:
        for family in (_UNIX, _INET, _INET6):
            made = libc.socket(family, 1, 0)
            if made >= 0:
                os.close(made)
                said = {**said, "level": 1, "why": "a socket could be made all the same"}
    if said["files"]:
        made = libc.open(os.fsencode(__file__), os.O_WRONLY | os.O_APPEND)
        if made >= 0:
            os.close(made)
            said = {**said, "files": False}
    return said


def _main() -> None:
    import _socket  # noqa: PLC0415 - without the module around it, which takes longer
    from array import array  # noqa: PLC0415

    parent = _socket.socket(fileno=int(sys.argv[1]))
    said, listener = shut(listening=True)
    if listener is not None:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [listener]).tobytes())]
        parent.sendmsg([b"+"], rights)
        os.close(listener)
    else:
        parent.sendmsg([b"-"])
    parent.sendmsg([json.dumps(tried(said)).encode()])
    parent.close()
    try:
        os.execv(sys.argv[2], sys.argv[3:])  # noqa: S606 - it becomes the user's interpreter
    except OSError as error:
        print(f"{sys.argv[3]}: {error.strerror}", file=sys.stderr)
        sys.exit(126)


if __name__ == "__main__":
    _main()
