"""Fingerprints of sources, which tell whether a source has grown or was rewritten since its load.

A fingerprint hashes a file's first bytes and the last bytes that were loaded from it: an appended
file keeps both, a rotated or rewritten one doesn't. Positions count decompressed bytes.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from storage.ingest.io import byte_streams, object_store

_HASHED_BYTES = 65_536
"""Maximum bytes hashed at each end."""


class SourceChange(Enum):
    """How a source has changed since it was loaded."""

    NONE = "unchanged"
    GROWN = "has grown"
    REWRITTEN = "was rewritten"
    GONE = "is gone"


@dataclass(frozen=True)
class Fingerprint:
    """The size, time and hashes of a source when it was loaded."""

    path: str
    size_bytes: int
    """Bytes on disk; -1 if the source isn't a file."""
    modified_ns: int
    """Time of the last change in nanoseconds since 1970; 0 if the source isn't a file."""
    consumed: int
    """Decompressed bytes that were loaded; rows of a file that is read as a whole; records of others."""
    head_hash: str
    """Hash of the first bytes; empty if the source isn't a file."""
    tail_hash: str
    """Hash of the last loaded bytes; if the source isn't a file, its position as JSON."""
    is_whole_file: bool
    """Whether the file is read as a whole, such as Parquet, and never continued."""


def take_fingerprint(
    path: str, consumed: int, size_bytes: int, modified_ns: int, *, is_whole_file: bool
) -> Fingerprint:
    """Return the fingerprint of a file from which `consumed` bytes (or rows) were loaded.

    `size_bytes` and `modified_ns` must be read before the file is, because a change during the load
    must show later.
    """
    head, tail = _hash_ends(path, size_bytes if is_whole_file else consumed, is_raw=is_whole_file)
    return Fingerprint(path, size_bytes, modified_ns, consumed, head, tail, is_whole_file)


def make_position_fingerprint(path: str, consumed: int, position: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of a source that isn't a file, after `consumed` records."""
    return Fingerprint(path, -1, 0, consumed, "", json.dumps(position), is_whole_file=False)


def read_position(fingerprint: Fingerprint) -> dict[str, Any]:
    """Return the position up to which a source that isn't a file was loaded."""
    stored = json.loads(fingerprint.tail_hash or "{}")
    return stored if isinstance(stored, dict) else {}


def detect_change(before: Fingerprint, *, reads_file: bool) -> SourceChange:
    """Return how the source has changed.

    With `reads_file` the content is hashed; without it, only size and time decide. Changes of
    standard input, streams and, without `reads_file`, objects are not detected.
    """
    if before.path.startswith(byte_streams.STDIN) or before.size_bytes < 0:
        return SourceChange.NONE  # only a load finds out whether there is more
    if object_store.is_object(before.path):
        if not reads_file:
            return SourceChange.NONE  # opening a workspace must send no request
        size, modified_ns = object_store.read_size_and_time(before.path)
    else:
        try:
            status = Path(before.path).stat()
        except (OSError, ValueError):
            return SourceChange.GONE
        if not stat.S_ISREG(status.st_mode):
            return SourceChange.REWRITTEN  # reading a pipe or a device might wait forever
        size, modified_ns = status.st_size, status.st_mtime_ns
    if (size, modified_ns) == (before.size_bytes, before.modified_ns):
        return SourceChange.NONE
    if not reads_file and size > before.size_bytes:
        return SourceChange.REWRITTEN if before.is_whole_file else SourceChange.GROWN
    extent = before.size_bytes if before.is_whole_file else before.consumed
    if size < extent and before.is_whole_file:
        return SourceChange.REWRITTEN
    if _hash_ends(before.path, extent, is_raw=before.is_whole_file) != (
        before.head_hash,
        before.tail_hash,
    ):
        return SourceChange.REWRITTEN
    if size == before.size_bytes:
        return SourceChange.NONE
    return SourceChange.REWRITTEN if before.is_whole_file else SourceChange.GROWN


def _hash_ends(path: str, extent: int, *, is_raw: bool) -> tuple[str, str]:
    start = max(0, extent - _HASHED_BYTES)
    if is_raw:
        with byte_streams.open_plain(path) as plain:
            head = plain.read(min(extent, _HASHED_BYTES))
            plain.seek(start, os.SEEK_SET)
            tail = plain.read(extent - start)
    else:
        stream, _ = byte_streams.open_bytes(path)
        with stream:
            head = stream.read(min(extent, _HASHED_BYTES))
        stream, _ = byte_streams.open_bytes(path, start)
        with stream:
            tail = stream.read(extent - start)
    return _hash_bytes(head), _hash_bytes(tail)


def _hash_bytes(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
