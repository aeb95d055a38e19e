"""Read the decompressed bytes of a source; the first bytes, never the name, tell the compression."""

import contextlib
import gzip
import io
import lzma
import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from storage.errors import SourceError, summarize_error
from storage.ingest.io import object_store
from storage.ingest.io.expansion_limit import Expansion

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDIN = "-"
"""The source name that stands for standard input."""

_MAGIC_BYTES = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00"}

STREAM_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""The exceptions that reading a damaged or truncated compressed file raises."""


def detect_compression(head: bytes) -> str | None:
    """Return `gzip`, `zstd` or `xz`, or None for plain bytes."""
    return next((name for name, magic in _MAGIC_BYTES.items() if head.startswith(magic)), None)


def open_plain(path: str) -> io.BufferedReader:
    """Return the stored bytes of a file or object; raises `SourceError` if it isn't readable."""
    if object_store.is_object(path):
        return object_store.open_object(path)
    if Path(path).is_dir():
        raise SourceError(f"{path} is a directory. Name the files in it, such as {path}/*.jsonl.")
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def open_bytes(path: str, start: int = 0) -> tuple[BinaryIO, str | None]:
    """Return the decompressed bytes from byte `start` on, and their compression (None: plain).

    Raises `SourceError` if the file isn't readable or is damaged before `start`.
    """
    plain = open_plain(path)
    kind = detect_compression(plain.peek(6)[:6])
    packed: BinaryIO | _StrictZstdStream
    if kind == "gzip":
        packed = cast("BinaryIO", gzip.GzipFile(fileobj=plain))
    elif kind == "zstd":
        packed = _StrictZstdStream(plain)
    elif kind == "xz":
        packed = cast("BinaryIO", lzma.LZMAFile(plain))  # noqa: SIM115 - the caller closes it
    else:
        if start:
            plain.seek(start)
        return plain, None
    stream = cast("BinaryIO", io.BufferedReader(_BoundedStream(path, packed, plain), 1 << 20))
    skipped = 0
    try:
        while skipped < start:
            skipped += len(stream.read(min(1 << 20, start - skipped))) or start
    except STREAM_ERRORS as error:
        raise damaged_source_error(path, error) from error
    return stream, kind


class _BoundedStream(io.RawIOBase):
    """Unpacked bytes of a source; reading raises `SourceError` if they expand too far."""

    def __init__(
        self, path: str, unpacked: "BinaryIO | _StrictZstdStream", packed: io.BufferedReader
    ) -> None:
        self._unpacked = unpacked
        self._packed = packed
        self._packed_bytes = 0
        self._expansion = Expansion(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        count: int = self._unpacked.readinto(buffer)  # type: ignore[union-attr]
        packed_bytes = self._packed.tell()
        self._expansion.count(packed_bytes - self._packed_bytes, count)
        self._packed_bytes = packed_bytes
        return count

    def close(self) -> None:
        self._unpacked.close()
        self._packed.close()
        super().close()


_ZSTD_PIECE = 4 << 10
"""Packed bytes to unpack at once; kept small, because four packed bytes may hold 128 KiB."""


class _StrictZstdStream(io.RawIOBase):
    """A zstd reader that raises `EOFError` for a truncated file.

    zstandard's own reader takes the end of a truncated file for the end of its data.
    """

    def __init__(self, packed: io.BufferedReader) -> None:
        self._compressed = packed
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._unused_input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        while not self._output:
            packed = self._unused_input or self._compressed.read(_ZSTD_PIECE)
            self._unused_input = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ends inside a frame")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._output = memoryview(self._frame.decompress(packed))
            if self._frame.eof:
                self._unused_input, self._frame = self._frame.unused_data, None
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._output))
        target[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        self._compressed.close()
        super().close()


def damaged_source_error(path: str, error: BaseException) -> SourceError:
    """Return the error for a file that is damaged or truncated."""
    return SourceError(
        f"{path} is damaged or truncated ({summarize_error(error)}). Copy it again from its origin."
    )


def spool_to_file(path: str, start: int, target_path: Path) -> None:
    """Write the decompressed bytes from byte `start` on to a file, for readers that need a file."""
    stream, _ = open_bytes(path, start)
    with stream, target_path.open("wb") as target:
        try:
            shutil.copyfileobj(stream, target, 1 << 20)
        except STREAM_ERRORS as error:
            raise damaged_source_error(path, error) from error


def spool_stream(name: str, into: Path) -> None:
    """Write standard input or a pipe to a file, because a stream can be read only once.

    Opening a named pipe waits for its writer. Raises `SourceError` if reading or writing fails.
    """
    try:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(into.open("wb"))
            stream = (
                sys.stdin.buffer if name == STDIN else stack.enter_context(Path(name).open("rb"))
            )
            shutil.copyfileobj(stream, target, 1 << 20)
    except OSError as error:
        shown = "standard input" if name == STDIN else name
        raise SourceError(f"{shown} can't be copied to {into.parent}: {error.strerror}.") from error
