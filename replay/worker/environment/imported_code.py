"""Records a hash of every imported file of the user's code, as it was when it was compiled.

A file may be saved while it is imported; then the file on disk differs from the code that runs.
Therefore the hash is taken of the bytes that the loader read.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
from typing import Any, Dict, Iterable, Optional, Tuple

from ..protocol import user_code

_FRESH_SECONDS = 2
"""Don't use a .pyc that was written within this time after its source was saved.

A .pyc identifies its source by size and whole seconds only, so it may belong to other content that was
saved in the same second.
"""

_compiled: Dict[str, str] = {}
"""SHA-256 of the source by absolute path; of several versions, a hash that matches no file."""


def watch() -> None:
    """Record every later import of the user's code."""
    loader: Any = importlib.machinery.SourceFileLoader
    original = loader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        path = self.get_filename(fullname)
        if user_code.is_foreign_file(path):
            return original(self, fullname)
        before = _stat(path)
        source = self.get_data(path)
        _note(path, source)
        if before is not None and before == _stat(path) and _is_cached(path, before[0]):
            return original(_RecordingLoader(self), fullname)
        return self.source_to_code(source, path)

    loader.get_code = get_code


def hashes(paths: Iterable[str]) -> Dict[str, str]:
    """Return the SHA-256 of each readable file: as imported, or as it is now if it wasn't."""
    digests = {}
    for path in paths:
        known = _compiled.get(os.path.abspath(path))
        try:
            digests[path] = known or _hash_file(path)
        except OSError:
            continue
    return digests


def note_files(paths: Iterable[str]) -> None:
    """Record the current content of files that are not Python modules."""
    for path in paths:
        try:
            with open(path, "rb") as stream:
                _note(path, stream.read())
        except OSError:
            continue


class _RecordingLoader:
    """Records the source if the loader reads it after all, because the .pyc doesn't match."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def get_data(self, path: str) -> bytes:
        data: bytes = self._loader.get_data(path)
        if path == self._loader.path:
            _note(path, data)
        return data


def _note(path: str, source: bytes) -> None:
    path, digest = os.path.abspath(path), hashlib.sha256(source).hexdigest()
    before = _compiled.get(path, digest)
    if before != digest:
        digest = hashlib.sha256((before + digest).encode()).hexdigest()
    _compiled[path] = digest


def _is_cached(path: str, saved: float) -> bool:
    """Return whether a .pyc exists that can only belong to the source saved at this time."""
    try:
        cached = importlib.util.cache_from_source(path)
        with open(cached, "rb") as stream:
            flags = stream.read(8)[4:]
        written = os.stat(cached).st_mtime
    except (NotImplementedError, OSError):
        return False
    return flags == bytes(4) and saved + _FRESH_SECONDS < written


def _stat(path: str) -> Optional[Tuple[float, int, int, int]]:
    """Return what changes when a file is saved; its modification time in seconds comes first."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime, status.st_mtime_ns, status.st_size, status.st_ino


def _hash_file(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()
