"""Files that are written completely or not at all.

The content goes to an unfinished file in the same folder, is forced to the disk, and gets its final name
last. Any failure, also a full disk, removes the unfinished file and leaves what was there before.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage import abandoned_files

_PREFIX = ".refold-unfinished-"
"""How the names of unfinished files begin; those of killed processes are removed by the next write there."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of file systems that don't support hard links, such as exFAT."""


def write_atomically(
    path: Path, content: bytes, *, replace: bool = True, is_private: bool = False
) -> None:
    """Write a file; raises `FileExistsError` if it exists and `replace` is false, or another `OSError`.

    With `is_private` only the user can read it.
    """
    try:
        with atomic_path(path, replace=replace, is_private=is_private) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: Path, *, replace: bool = True, is_private: bool = False) -> Iterator[Path]:
    """Yield the path of an empty file for the content; it gets its final name at the end.

    Raises `FileExistsError` at the end if the file exists and `replace` is false.
    """
    # The name doesn't contain the final one, which may be as long as a name can be.
    unfinished = abandoned_files.unfinished_path(path.parent, _PREFIX)
    remove_unfinished(path.parent)
    try:
        mode = 0o600 if is_private else 0o666
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        yield unfinished
        _force_to_disk(unfinished)
        if replace:
            unfinished.replace(path)
        else:
            link_into_place(unfinished, path)
        # Some file systems can't do that with a folder, and the file is whole either way.
        with suppress(OSError):
            _force_to_disk(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files in a folder whose process was killed."""
    with suppress(OSError):
        abandoned_files.remove_abandoned(folder, _PREFIX)


def link_into_place(unfinished: Path, path: Path) -> None:
    """Give a file its final name; raises `FileExistsError` if another file has this name."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            unfinished.replace(path)
        finally:
            os.close(folder)
    else:
        unfinished.unlink()


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
