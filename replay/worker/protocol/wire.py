"""Frames between a worker and its parent: a JSON header and binary parts.

A frame is the header's length (4 bytes, little endian), the header, and the parts. The header's
`parts` lists the length of each part in bytes. The worker and its parent both use this module.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<I")


class ConnectionClosedError(Exception):
    """The other side has closed the pipe."""


def send_frame(stream: BinaryIO, header: dict[str, Any], parts: tuple[Any, ...] = ()) -> None:
    """Write one frame; the parts are objects with a buffer."""
    views = [memoryview(part).cast("B") for part in parts]
    text = json.dumps({**header, "parts": [view.nbytes for view in views]}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for view in views:
        stream.write(view)
    stream.flush()


def receive_frame(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Read one frame; return its header and parts.

    Raises `ConnectionClosedError` at the end of the stream, also inside a frame.
    """
    (size,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    header = json.loads(_read_exactly(stream, size))
    return header, [_read_exactly(stream, length) for length in header["parts"]]


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ConnectionClosedError
    return data
