"""Bytes into lines: batches of whole, valid UTF-8 lines with their numbers.

A byte order mark is dropped, blank lines are passed over, and a line that isn't UTF-8 or is longer
than `MAX_LINE` is a reject. Memory holds one chunk of the file, whatever the file's size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.formats import Reading
from storage.ingest.io import byte_streams

CHUNK = 8 << 20
"""Bytes read at once: more of them no longer fit into a processor's cache between two passes."""

_AT_ONCE = 16_384

MAX_LINE = 256 << 20
"""Bytes of the longest line that is taken for a record."""

BOM = b"\xef\xbb\xbf"
"""What some writers put before UTF-8; it is no part of the first line."""


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of a file, each with its line break."""

    texts: pa.Array
    """Strings."""
    numbers: pa.Array
    """1-based line numbers, as int64."""


def read(reading: Reading) -> Iterator[Lines]:
    """The lines of a file from `reading.start` on; keeps `taken`, `lines` and `done` up to date.

    A last line without a line break is `reading.partial`; it may be torn.
    Raises `SourceError` where the bytes can't be read.
    """
    stream, _ = byte_streams.open_bytes(reading.path, reading.start)
    reading.taken, reading.lines = reading.start, reading.start_line
    rest = bytearray()
    first = reading.start == 0
    with stream:
        while True:
            try:
                chunk = stream.read(CHUNK)
            except byte_streams.Broken as error:
                raise byte_streams.broken(reading.path, error) from error
            if first:
                first = False
                if chunk.startswith(BOM):
                    chunk = chunk[len(BOM) :]
                    reading.taken += len(BOM)
            if reading.continues and chunk:
                # The line break belongs to a line that was taken without it.
                reading.continues = False
                ending = 2 if chunk.startswith(b"\r\n") else int(chunk.startswith(b"\n"))
                chunk = chunk[ending:]
                reading.taken += ending
            if not chunk:
                break
            reading.done += len(chunk)
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                rest += chunk
                _refuse_long(rest, reading)
                continue
            whole = b"".join((rest, memoryview(chunk)[:end]))
            rest = bytearray(memoryview(chunk)[end:])
            yield from _lines(whole, reading)
    reading.partial = bool(rest) or reading.continues
    if rest:
        yield from _lines(bytes(rest), reading)


def of_texts(texts: Iterator[str], reading: Reading) -> Iterator[Lines]:
    """Records that are no lines of the file, as if they were; counted in `taken` and `lines`."""
    while some := list(islice(texts, _AT_ONCE)):
        numbers = np.arange(reading.lines + 1, reading.lines + 1 + len(some))
        reading.lines += len(some)
        yield Lines(pa.array(some, pa.string()), pa.array(numbers))
    reading.taken = reading.lines


def _refuse_long(line: bytearray, reading: Reading) -> None:
    if len(line) > MAX_LINE:
        raise SourceError(
            f"{reading.path} has a line of over {MAX_LINE >> 20} MiB after line {reading.lines};"
            " an event has to fit into memory."
        )


def _lines(chunk: bytes, reading: Reading) -> Iterator[Lines]:
    breaks = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 0x0A) + 1
    ends = breaks if chunk.endswith(b"\n") else np.append(breaks, len(chunk))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    texts = pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    )
    numbers = np.arange(reading.lines + 1, reading.lines + 1 + len(ends))
    reading.taken += len(chunk)
    reading.lines += len(ends)
    try:
        strings = texts.cast(pa.string())
    except pa.ArrowInvalid:
        valid = [_decodes(text) for text in texts.to_pylist()]
        for index in (i for i, fine in enumerate(valid) if not fine):
            raw = texts[index].as_py()
            shown = raw[:4000].decode(errors="replace")[:1000].rstrip("\r\n")
            reading.reject(int(numbers[index]), _not_utf8(raw), shown, len(raw))
        strings = texts.filter(pa.array(valid)).cast(pa.string())
        numbers = numbers[np.array(valid, dtype=bool)]
    if len(strings):
        yield Lines(strings, pa.array(numbers))


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"not valid UTF-8 at byte {error.start + 1}"
    return "not valid UTF-8"
