"""Bytes of a source, decompressed: compression is told by the first bytes, never by the name."""

import gzip
import io
import lzma
import shutil
import sys
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from storage.errors import SourceError, one_line

STDIN = "-"
"""The name of standard input where a source is expected."""

_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00"}

Broken = (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError)
"""What reading a damaged or truncated compressed file raises."""


def compression(head: bytes) -> str | None:
    """`gzip`, `zstd`, `xz`, or None for plain bytes."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


def open_plain(path: str) -> io.BufferedReader:
    """The file's bytes as they are; raises `SourceError` for what isn't a readable file."""
    if Path(path).is_dir():
        raise SourceError(f"{path} is a directory; name the files in it, as {path}/*.jsonl.")
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def open_bytes(path: str, start: int = 0) -> tuple[BinaryIO, str | None]:
    """The decompressed bytes from `start` on, and the compression they came in."""
    plain = open_plain(path)
    kind = compression(plain.peek(6)[:6])
    stream: BinaryIO
    if kind == "gzip":
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=plain))
    elif kind == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(plain, read_across_frames=True)
        stream = cast("BinaryIO", io.BufferedReader(reader, 1 << 20))
    elif kind == "xz":
        stream = cast("BinaryIO", lzma.LZMAFile(plain))
    else:
        if start:
            plain.seek(start)
        return plain, None
    skipped = 0
    try:
        while skipped < start:
            skipped += len(stream.read(min(1 << 20, start - skipped))) or start
    except Broken as error:
        raise broken(path, error) from error
    return stream, kind


def broken(path: str, error: BaseException) -> SourceError:
    return SourceError(f"{path} is damaged or was cut off ({one_line(error)}).")


def spool(path: str, start: int, into: Path) -> None:
    """Write the decompressed bytes from `start` on into a file, for readers that need one."""
    stream, _ = open_bytes(path, start)
    with stream, into.open("wb") as target:
        try:
            shutil.copyfileobj(stream, target, 1 << 20)
        except Broken as error:
            raise broken(path, error) from error


def spool_stdin(into: Path) -> None:
    """Write standard input into a file, as it can be read once only."""
    with into.open("wb") as target:
        shutil.copyfileobj(sys.stdin.buffer, target, 1 << 20)
