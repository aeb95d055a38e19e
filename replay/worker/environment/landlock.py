"""Landlock rules of a worker: it can't write files or read terminals, or read outside given folders.

See landlock(7). Rights that the kernel's version doesn't know are left out. Standard library only.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Any, Iterable, Iterator, Optional, Sequence

_CREATE, _ADD, _ENFORCE = 444, 445, 446
_VERSION, _BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_CHANGES = 0b1_1111_1111_0010
"""Rights to write files, and to create and remove entries of folders."""
_MOVE, _TRUNCATE, _DEVICE_IOCTL = 1 << 13, 1 << 14, 1 << 15
"""Rights that versions 2, 3 and 5 of landlock added."""
_TCP, _SCOPES = 0b11, 0b11
"""Rights that versions 4 and 6 added: TCP; signals and abstract sockets outside the sandbox."""

WRITABLE = ("/dev/null", "/dev/zero", "/dev/full")
_READABLE_DEVICES = (*WRITABLE, "/dev/random", "/dev/urandom")


def landlock_version(libc: Any) -> int:
    """Return the kernel's version of landlock; 0 if it has no landlock."""
    import ctypes  # noqa: PLC0415 - some Pythons are built without it

    return max(0, int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def restrict_files(libc: Any, readable: Optional[Sequence[str]] = None) -> bool:
    """Forbid this process to change files and to read terminals; return whether that holds.

    With `readable`, the process can read only these files and the files below these folders.
    """
    import ctypes  # noqa: PLC0415 - some Pythons are built without it

    version = landlock_version(libc)
    if version < 1:
        return False
    handled = _CHANGES | _READ_FILE
    handled |= _MOVE if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    handled |= _DEVICE_IOCTL if version >= 5 else 0
    handled |= _READ_DIR if readable is not None else 0
    rules = struct.pack("Q", handled)
    if version >= 4:
        rules += struct.pack("Q", _TCP)
    if version >= 6:
        rules += struct.pack("Q", _SCOPES)
    rules_buffer = ctypes.create_string_buffer(rules, len(rules))
    ruleset = int(libc.syscall(_CREATE, rules_buffer, ctypes.c_size_t(len(rules)), 0))
    if ruleset < 0:
        return False

    def allow(path: str, rights: int) -> None:
        with suppress(OSError):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if not os.path.isdir(path):
                    rights &= ~_READ_DIR
                rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
                libc.syscall(_ADD, ruleset, _BENEATH, rule, 0)
            finally:
                os.close(descriptor)

    for path in _list_readable_folders() if readable is None else readable:
        allow(path, (_READ_FILE | _READ_DIR) & handled)
    for device in _READABLE_DEVICES:
        allow(device, _READ_FILE | (_WRITE_FILE if device in WRITABLE else 0))
    enforced = libc.syscall(_ENFORCE, ruleset, 0)
    os.close(ruleset)
    return bool(enforced == 0)


def _list_readable_folders() -> Iterator[str]:
    """Yield all top-level folders except /dev, which contains the terminals the user types in."""
    for entry in _list_folder("/"):
        if entry != "dev":
            yield "/" + entry


def _list_folder(folder: str) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ("bin", "etc", "home", "lib", "lib64", "opt", "proc", "sys", "tmp", "usr", "var")
