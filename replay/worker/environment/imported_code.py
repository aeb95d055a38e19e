"""Notes the content of every file of the user's that is imported, as it was when it was compiled.

A file may be saved while it is imported. Its hash on the disk is another one then than that of the code
that runs, so the hash is taken of the bytes that the loader was given.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
from typing import Any, Dict, Iterable, Optional, Tuple

from ..protocol import user_code

_FRESH_SECONDS = 2
"""A cached .pyc names its source by size and whole seconds only. One that was written so soon after its
source was saved may be of another content of the same second, so it isn't used."""

_compiled: Dict[str, str] = {}
"""SHA-256 of the source by path; of several different ones together, which no file has."""


def watch() -> None:
    """Note from now on what is imported from outside the standard library and site-packages."""
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
            return original(_Noting(self), fullname)
        return self.source_to_code(source, path)

    loader.get_code = get_code


def hashes(paths: Iterable[str]) -> Dict[str, str]:
    """The SHA-256 of each file that can be read: of what was imported, else of what it is now."""
    found = {}
    for path in paths:
        known = _compiled.get(os.path.abspath(path))
        try:
            found[path] = known or _read(path)
        except OSError:
            continue
    return found


def note_files(paths: Iterable[str]) -> None:
    """Note what files that are no Python code have in them now."""
    for path in paths:
        try:
            with open(path, "rb") as stream:
                _note(path, stream.read())
        except OSError:
            continue


class _Noting:
    """A loader that notes the source when it reads that itself, because the .pyc is of another."""

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
    """Whether a .pyc is there that can only be of the source that was saved at this time."""
    try:
        cached = importlib.util.cache_from_source(path)
        with open(cached, "rb") as stream:
            flags = stream.read(8)[4:]
        written = os.stat(cached).st_mtime
    except (NotImplementedError, OSError):
        return False
    return flags == bytes(4) and saved + _FRESH_SECONDS < written


def _stat(path: str) -> Optional[Tuple[float, int, int, int]]:
    """What changes when a file is saved; the time of its last change in seconds comes first."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime, found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()
