"""Watching a projection's files while a screen is open: who saves one is heard within a moment.

Files are looked at, not listened to, so that any editor will do, also one that puts a new file in
the old one's place. A file that is being written, or is away for a moment, is waited for.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

_POLL_SECONDS = 0.1
_STEADY_SECONDS = 0.02
"""For so long a file must stay as it is before it counts as saved."""

FileStamp = tuple[int, int, int]


class FileWatcher:
    """Calls `saved` from a thread of its own whenever one of the files has another content."""

    def __init__(self, saved: Callable[[], None]) -> None:
        self._saved = saved
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[FileStamp | None, str]] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def watch_files(self, files: Mapping[str, str]) -> None:
        """Watch these from now on: paths, each with the SHA-256 of the content that is known.

        No content is known for an empty one; a file is taken as it is found then.
        """
        with self._lock:
            # Without a look at it yet, each is read once.
            self._known = {Path(path): (None, digest) for path, digest in files.items()}
        if self._thread is None and files:
            self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
            self._thread.start()

    @property
    def is_watching(self) -> bool:
        """There is a file to be watched."""
        return bool(self._known)

    def close(self) -> None:
        """Watch nothing any more; `saved` isn't called again once this has returned."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            with self._lock:
                known = dict(self._known)
            changed = [self._changed(path, *kept) for path, kept in known.items()]
            if any(changed) and not self._ended.is_set():
                self._saved()

    def _changed(self, path: Path, before: FileStamp | None, digest: str) -> bool:
        look = _stamp_file(path)
        if look is None or look == before:
            return False
        while not self._ended.wait(_STEADY_SECONDS):
            again = _stamp_file(path)
            if again == look:
                break
            look = again
        content = _content(path)
        if look is None or content is None:
            return False
        found = hashlib.sha256(content).hexdigest()
        with self._lock:
            if self._known.get(path) == (before, digest):
                self._known[path] = (look, found)
        return digest not in ("", found)


def _stamp_file(path: Path) -> FileStamp | None:
    """What tells that a file may have been written; None where there is none."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
