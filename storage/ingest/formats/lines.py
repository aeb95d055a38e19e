"""Split bytes into batches of complete, valid UTF-8 lines with their numbers.

A byte order mark is dropped. A line that isn't UTF-8 becomes a reject; a line longer than
`MAX_LINE_BYTES` stops the load. Memory holds one chunk and one line, whatever the file's size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.formats import ReadPass
from storage.ingest.io import byte_streams

CHUNK_BYTES = 8 << 20
"""Bytes read at once; a larger chunk no longer fits into a processor's cache between two passes."""

_BATCH_TEXTS = 16_384

MAX_LINE_BYTES = 256 << 20
"""Maximum bytes of a line."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The mark that some writers put before UTF-8; it is not part of the first line."""


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of a file, each with its line break."""

    texts: pa.Array
    """The lines, as strings."""
    numbers: pa.Array
    """Line numbers from 1, as int64."""


def read_lines(reading: ReadPass) -> Iterator[Lines]:
    """Yield the lines of a file from `reading.start_byte` on.

    Updates `consumed`, `line_count` and `read_bytes` of `reading`. After the last batch,
    `ends_without_line_break` says whether the last line has no line break: it may be torn.
    Raises `SourceError` if the bytes can't be read or a line is too long.
    """
    stream, _ = byte_streams.open_bytes(reading.path, reading.start_byte)
    reading.consumed, reading.line_count = reading.start_byte, reading.start_line
    rest = bytearray()
    first = reading.start_byte == 0
    with stream:
        while True:
            try:
                chunk = stream.read(CHUNK_BYTES)
            except byte_streams.STREAM_ERRORS as error:
                raise byte_streams.damaged_source_error(reading.path, error) from error
            if first:
                first = False
                if chunk.startswith(BYTE_ORDER_MARK):
                    chunk = chunk[len(BYTE_ORDER_MARK) :]
                    reading.consumed += len(BYTE_ORDER_MARK)
            if reading.starts_inside_line and chunk:
                # This line break ends a line that an earlier load consumed without it.
                reading.starts_inside_line = False
                ending = 2 if chunk.startswith(b"\r\n") else int(chunk.startswith(b"\n"))
                chunk = chunk[ending:]
                reading.consumed += ending
            if not chunk:
                break
            reading.read_bytes += len(chunk)
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                rest += chunk
                _refuse_long(rest, reading)
                continue
            whole = b"".join((rest, memoryview(chunk)[:end]))
            rest = bytearray(memoryview(chunk)[end:])
            yield from _split_lines(whole, reading)
    reading.ends_without_line_break = bool(rest) or reading.starts_inside_line
    if rest:
        yield from _split_lines(bytes(rest), reading)


def number_texts(texts: Iterator[str], reading: ReadPass) -> Iterator[Lines]:
    """Yield records that are not lines of the file, numbered like lines.

    Counts them in `reading.consumed` and `reading.line_count`.
    """
    while texts_of_batch := list(islice(texts, _BATCH_TEXTS)):
        numbers = np.arange(reading.line_count + 1, reading.line_count + 1 + len(texts_of_batch))
        reading.line_count += len(texts_of_batch)
        yield Lines(pa.array(texts_of_batch, pa.string()), pa.array(numbers))
    reading.consumed = reading.line_count


def _refuse_long(line: bytearray, reading: ReadPass) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise SourceError(
            f"{reading.path} has a line of over {MAX_LINE_BYTES >> 20} MiB after line"
            f" {reading.line_count}, which doesn't fit into memory as an event. Split or remove it."
        )


def _split_lines(chunk: bytes, reading: ReadPass) -> Iterator[Lines]:
    breaks = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 0x0A) + 1
    ends = breaks if chunk.endswith(b"\n") else np.append(breaks, len(chunk))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    texts = pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    )
    numbers = np.arange(reading.line_count + 1, reading.line_count + 1 + len(ends))
    reading.consumed += len(chunk)
    reading.line_count += len(ends)
    try:
        strings = texts.cast(pa.string())
    except pa.ArrowInvalid:
        valid = [_is_utf8(text) for text in texts.to_pylist()]
        for index in (i for i, fine in enumerate(valid) if not fine):
            raw = texts[index].as_py()
            shown = raw[:4000].decode(errors="replace")[:1000].rstrip("\r\n")
            reading.add_reject(int(numbers[index]), _utf8_error_reason(raw), shown, len(raw))
        strings = texts.filter(pa.array(valid)).cast(pa.string())
        numbers = numbers[np.array(valid, dtype=bool)]
    if len(strings):
        yield Lines(strings, pa.array(numbers))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utf8_error_reason(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"not valid UTF-8 at byte {error.start + 1}"
    return "not valid UTF-8"
