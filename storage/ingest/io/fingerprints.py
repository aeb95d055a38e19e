"""Whether a source still begins with what was loaded from it, and whether there is more of it.

A file is known by a hash of its first bytes and of the last bytes that were taken from it: an
appended file keeps both, a rotated or rewritten one doesn't. Positions are of decompressed bytes.
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
"""Bytes hashed at each end."""


class SourceChange(Enum):
    """What has become of a source since it was loaded."""

    NONE = "unchanged"
    GROWN = "has grown"
    REWRITTEN = "was rewritten"
    GONE = "is gone"


@dataclass(frozen=True)
class Fingerprint:
    """What a source was when it was loaded."""

    path: str
    size_bytes: int
    """Bytes on disk; -1 for what is no file."""
    modified_ns: int
    consumed: int
    """Decompressed bytes that were loaded; for Parquet and Arrow files, rows."""
    head_hash: str
    tail_hash: str
    """Hashes of both ends; of what is no file, the position up to which it was taken, as JSON."""
    is_whole_file: bool
    """True where the file is known as a whole, as Parquet, and can't be continued."""


def take_fingerprint(
    path: str, consumed: int, size_bytes: int, modified_ns: int, *, is_whole_file: bool
) -> Fingerprint:
    """The fingerprint of a source of which `taken` bytes (or rows) were loaded.

    `size` and `modified_ns` are from before it was read: what is written meanwhile must show later.
    """
    head, tail = _hash_ends(path, size_bytes if is_whole_file else consumed, is_raw=is_whole_file)
    return Fingerprint(path, size_bytes, modified_ns, consumed, head, tail, is_whole_file)


def make_position_fingerprint(path: str, consumed: int, position: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of what is no file, of which `taken` records were loaded, up to a position."""
    return Fingerprint(path, -1, 0, consumed, "", json.dumps(position), is_whole_file=False)


def read_position(fingerprint: Fingerprint) -> dict[str, Any]:
    """Up to where such a source was taken."""
    stored = json.loads(fingerprint.tail_hash or "{}")
    return stored if isinstance(stored, dict) else {}


def detect_change(before: Fingerprint, *, reads_file: bool) -> SourceChange:
    """What has become of the source; `thorough` reads it, else size and time must do."""
    if before.path.startswith(byte_streams.STDIN) or before.size_bytes < 0:
        return SourceChange.NONE  # whether there is more is known only when it is asked for
    if object_store.is_object(before.path):
        if not reads_file:
            return SourceChange.NONE  # a workspace is opened without asking anybody
        size, modified_ns = object_store.read_size_and_time(before.path)
    else:
        try:
            status = Path(before.path).stat()
        except (OSError, ValueError):
            return SourceChange.GONE
        if not stat.S_ISREG(status.st_mode):
            return SourceChange.REWRITTEN  # nobody waits for what a pipe or a device has to say
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
