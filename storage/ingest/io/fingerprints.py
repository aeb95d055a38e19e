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

_SPAN = 65_536
"""Bytes hashed at each end."""


class Change(Enum):
    """What has become of a source since it was loaded."""

    NONE = "unchanged"
    GROWN = "has grown"
    REWRITTEN = "was rewritten"
    GONE = "is gone"


@dataclass(frozen=True)
class Fingerprint:
    """What a source was when it was loaded."""

    path: str
    size: int
    """Bytes on disk; -1 for what is no file."""
    modified_ns: int
    taken: int
    """Decompressed bytes that were loaded; for Parquet and Arrow files, rows."""
    head: str
    tail: str
    """Hashes of both ends; of what is no file, the position up to which it was taken, as JSON."""
    whole: bool
    """True where the file is known as a whole, as Parquet, and can't be continued."""


def take(path: str, taken: int, size: int, modified_ns: int, *, whole: bool) -> Fingerprint:
    """The fingerprint of a source of which `taken` bytes (or rows) were loaded.

    `size` and `modified_ns` are from before it was read: what is written meanwhile must show later.
    """
    head, tail = _ends(path, size if whole else taken, raw=whole)
    return Fingerprint(path, size, modified_ns, taken, head, tail, whole)


def at(path: str, taken: int, position: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of what is no file, of which `taken` records were loaded, up to a position."""
    return Fingerprint(path, -1, 0, taken, "", json.dumps(position), whole=False)


def position(known: Fingerprint) -> dict[str, Any]:
    """Up to where such a source was taken."""
    said = json.loads(known.tail or "{}")
    return said if isinstance(said, dict) else {}


def change(before: Fingerprint, *, thorough: bool) -> Change:
    """What has become of the source; `thorough` reads it, else size and time must do."""
    if before.path.startswith(byte_streams.STDIN) or before.size < 0:
        return Change.NONE  # whether there is more is known only when it is asked for
    if object_store.is_object(before.path):
        if not thorough:
            return Change.NONE  # a workspace is opened without asking anybody
        size, modified_ns = object_store.size_and_time(before.path)
    else:
        try:
            status = Path(before.path).stat()
        except (OSError, ValueError):
            return Change.GONE
        if not stat.S_ISREG(status.st_mode):
            return Change.REWRITTEN  # nobody waits for what a pipe or a device has to say
        size, modified_ns = status.st_size, status.st_mtime_ns
    if (size, modified_ns) == (before.size, before.modified_ns):
        return Change.NONE
    if not thorough and size > before.size:
        return Change.REWRITTEN if before.whole else Change.GROWN
    extent = before.size if before.whole else before.taken
    if size < extent and before.whole:
        return Change.REWRITTEN
    if _ends(before.path, extent, raw=before.whole) != (before.head, before.tail):
        return Change.REWRITTEN
    if size == before.size:
        return Change.NONE
    return Change.REWRITTEN if before.whole else Change.GROWN


def _ends(path: str, extent: int, *, raw: bool) -> tuple[str, str]:
    start = max(0, extent - _SPAN)
    if raw:
        with byte_streams.open_plain(path) as plain:
            head = plain.read(min(extent, _SPAN))
            plain.seek(start, os.SEEK_SET)
            tail = plain.read(extent - start)
    else:
        stream, _ = byte_streams.open_bytes(path)
        with stream:
            head = stream.read(min(extent, _SPAN))
        stream, _ = byte_streams.open_bytes(path, start)
        with stream:
            tail = stream.read(extent - start)
    return _hash(head), _hash(tail)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
