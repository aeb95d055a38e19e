"""Bytes of a source, decompressed: compression is told by the first bytes, never by the name."""

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
from storage.ingest.io.expansion import Expansion

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDIN = "-"
"""The name of standard input where a source is expected."""

_MAGIC_BYTES = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00"}

STREAM_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What reading a damaged or truncated compressed file raises."""


def detect_compression(head: bytes) -> str | None:
    """`gzip`, `zstd`, `xz`, or None for plain bytes."""
    return next((name for name, magic in _MAGIC_BYTES.items() if head.startswith(magic)), None)


def open_plain(path: str) -> io.BufferedReader:
    """The file's bytes as they are; raises `SourceError` for what isn't a readable file."""
    if object_store.is_object(path):
        return object_store.open_object(path)
    if Path(path).is_dir():
        raise SourceError(f"{path} is a directory; name the files in it, as {path}/*.jsonl.")
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def open_bytes(path: str, start: int = 0) -> tuple[BinaryIO, str | None]:
    """The decompressed bytes from `start` on, and the compression they came in."""
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
    stream = cast("BinaryIO", io.BufferedReader(_Bounded(path, packed, plain), 1 << 20))
    skipped = 0
    try:
        while skipped < start:
            skipped += len(stream.read(min(1 << 20, start - skipped))) or start
    except STREAM_ERRORS as error:
        raise damaged_source_error(path, error) from error
    return stream, kind


class _Bounded(io.RawIOBase):
    """Unpacked bytes, as long as they don't expand too far."""

    def __init__(
        self, path: str, unpacked: "BinaryIO | _StrictZstdStream", packed: io.BufferedReader
    ) -> None:
        self._unpacked = unpacked
        self._packed = packed
        self._taken = 0
        self._expansion = Expansion(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        count: int = self._unpacked.readinto(buffer)  # type: ignore[union-attr]
        taken = self._packed.tell()
        self._expansion.count(taken - self._taken, count)
        self._taken = taken
        return count

    def close(self) -> None:
        self._unpacked.close()
        self._packed.close()
        super().close()


_ZSTD_PIECE = 4 << 10
"""Packed bytes that are unpacked at once; four of them may stand for 128 KiB."""


class _StrictZstdStream(io.RawIOBase):
    """zstandard's own reader takes the end of a file that was cut off for the end of its data."""

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
                    raise EOFError("it ends inside a frame")
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
    return SourceError(f"{path} is damaged or was cut off ({summarize_error(error)}).")


def spool_to_file(path: str, start: int, target_path: Path) -> None:
    """Write the decompressed bytes from `start` on into a file, for readers that need one."""
    stream, _ = open_bytes(path, start)
    with stream, target_path.open("wb") as target:
        try:
            shutil.copyfileobj(stream, target, 1 << 20)
        except STREAM_ERRORS as error:
            raise damaged_source_error(path, error) from error


def spool_stream(name: str, into: Path) -> None:
    """Write a stream into a file, because it can be read once only: standard input, or a pipe.

    Opening a named pipe waits for whoever writes into it. Raises `SourceError`.
    """
    try:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(into.open("wb"))
            stream = (
                sys.stdin.buffer if name == STDIN else stack.enter_context(Path(name).open("rb"))
            )
            shutil.copyfileobj(stream, target, 1 << 20)
    except OSError as error:
        said = "standard input" if name == STDIN else name
        raise SourceError(f"{said} can't be copied to {into.parent}: {error.strerror}.") from error
