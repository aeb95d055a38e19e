"""Bounded reading of regular files, for paths that come from an untrusted file.

Such a path may name a pipe, on which a reader waits forever, or a device, which has no end. These
functions never open one, and they read no more bytes than the size of the file when it was opened.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 1 << 20


class NotRegularError(OSError):
    """The path names a folder, a pipe, a socket or a device."""


class TooLargeError(OSError):
    """The file has more bytes than the reader allows."""


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises `NotRegularError` or `TooLargeError`, which are `OSError`s, or the system's own `OSError`.
    """
    with _opened(path, limit_bytes) as (descriptor, size):
        return b"".join(_blocks(descriptor, size))


def sha256(path: Path, limit_bytes: int) -> str:
    """Return the SHA-256 of a regular file's content, in hexadecimal; raises as `read_bytes` does."""
    digest = hashlib.sha256()
    with _opened(path, limit_bytes) as (descriptor, size):
        for block in _blocks(descriptor, size):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, limit_bytes: int) -> Iterator[tuple[int, int]]:
    # Check before opening, because opening a device can have an effect; and again afterwards, because
    # another file can take its place in between. O_NONBLOCK keeps a pipe from blocking the open.
    _check(path.stat(), path, limit_bytes)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        _check(status, path, limit_bytes)
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, path: Path, limit_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(f"{path} is not a regular file")
    if status.st_size > limit_bytes:
        raise TooLargeError(f"{path} has more than {limit_bytes:,} bytes")


def _blocks(descriptor: int, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        block = os.read(descriptor, min(left, _BLOCK))
        if not block:
            return
        left -= len(block)
        yield block
