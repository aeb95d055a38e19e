"""Watches a projection's files and reports a save within about 0.1 seconds.

It polls the files, so it works with every editor, also with one that replaces the file. It waits for
a file that is being written or is missing for a moment.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

_POLL_SECONDS = 0.1
_STEADY_SECONDS = 0.02
"""Seconds without a change after which a file counts as saved."""

FileStamp = tuple[int, int, int]


class FileWatcher:
    """Calls `saved` from its thread whenever the content of a file has changed."""

    def __init__(self, saved: Callable[[], None]) -> None:
        self._saved = saved
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[FileStamp | None, str]] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def watch_files(self, files: Mapping[str, str]) -> None:
        """Watch these files instead: paths, each with the SHA-256 of its known content.

        An empty digest means that the content is unknown; the first content read is then taken as known.
        """
        with self._lock:
            # Without a stamp, each file is read once.
            self._known = {Path(path): (None, digest) for path, digest in files.items()}
        if self._thread is None and files:
            self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
            self._thread.start()

    @property
    def is_watching(self) -> bool:
        """Whether any file is watched."""
        return bool(self._known)

    def close(self) -> None:
        """Stop watching; `saved` is not called after this has returned."""
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
        stamp = _stamp_file(path)
        if stamp is None or stamp == before:
            return False
        while not self._ended.wait(_STEADY_SECONDS):
            again = _stamp_file(path)
            if again == stamp:
                break
            stamp = again
        content = _content(path)
        if stamp is None or content is None:
            return False
        found = hashlib.sha256(content).hexdigest()
        with self._lock:
            if self._known.get(path) == (before, digest):
                self._known[path] = (stamp, found)
        return digest not in ("", found)


def _stamp_file(path: Path) -> FileStamp | None:
    """Return time, size and inode of a file; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
