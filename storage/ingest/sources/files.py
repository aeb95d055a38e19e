"""Files as sources: expands patterns, detects the format, opens standard input.

Several files are read in the order given; the matches of a pattern in natural order (`part-2` before
`part-10`). The format is detected from the first bytes, then from the name.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.formats import SAMPLE_BYTES, Format, ReadPass
from storage.ingest.formats.arrow import ArrowIpc, Parquet
from storage.ingest.formats.console_consumer import ConsoleConsumer
from storage.ingest.formats.csv import Csv
from storage.ingest.formats.json_document import JsonDocument
from storage.ingest.formats.jsonl import JsonLines
from storage.ingest.formats.xes import Xes
from storage.ingest.io import byte_streams, fingerprints, object_store
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.sources import uris

FORMATS: tuple[Format, ...] = (
    *(Parquet(), ArrowIpc(), Xes(), JsonDocument(), JsonLines(), ConsoleConsumer(), Csv()),
)
"""Every format, in the order of detection."""

STDIN = "-"
"""The name of standard input as a source."""

SPOOL_PREFIX = "refold-stdin-"
"""The prefix of the temporary folder into which refold copies standard input."""

_EXTENSIONS = (
    *("gz", "zst", "xz", "xes", "jsonl", "ndjson", "json", "csv", "tsv", "txt", "parquet", "pq"),
    *("arrow", "feather", "ipc", "db", "sqlite", "sqlite3", "duckdb"),
)

_HAS_EXTENSION = re.compile(rf"\.({'|'.join(_EXTENSIONS)})$")
_FORMATS_BY_NAME = {form.name: form for form in FORMATS}

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class FileSource:
    """A file as a part of a source, with its format and size."""

    path: str
    format: Format
    head: bytes
    """The first decompressed bytes."""
    size_bytes: int
    modified_ns: int

    def read_sample(self) -> Sequence[Record]:
        return self.format.read_sample(self.path, self.head)

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        return self.format.read_batches(reading, mapping)

    def take_fingerprint(self, reading: ReadPass) -> Fingerprint:
        is_whole_file = self.format.is_whole_file
        fingerprint = fingerprints.take_fingerprint(
            self.path,
            reading.consumed,
            self.size_bytes,
            self.modified_ns,
            is_whole_file=is_whole_file,
        )
        return replace(fingerprint, path=stored_path(self.path))


def expand_pattern(name: str) -> list[str]:
    """Return the files that a name or pattern matches; raises `SourceError` if there is none."""
    if object_store.is_object(name):
        return sorted(object_store.list_objects(name), key=_natural_key)
    if has_magic(name) and not Path(name).exists():
        found = sorted(glob(name, recursive=True), key=_natural_key)  # noqa: PTH207 - a pattern may be absolute
        if not found:
            raise SourceError(f"No file matches {name}.")
        return [path for path in found if Path(path).is_file()]
    if Path(name).exists() or name == STDIN:
        return [name]
    raise SourceError(f"There is no file {name}.")


def detect_database(name: str) -> str | None:
    """Return the kind of database in a file, or None if the file is not a database."""
    if object_store.is_object(name) or not Path(name).is_file():
        return None
    with byte_streams.open_plain(name) as stream:
        head = stream.read(16)
    if head.startswith(b"SQLite format 3\0"):
        return "sqlite"
    return "duckdb" if head[8:12] == b"DUCK" else None


def stored_path(path: str) -> str:
    """Return the name of a file in a workspace."""
    if object_store.is_object(path):
        return object_store.redact_uri(path)
    if is_spooled(path):
        return Path(path).name
    return STDIN if is_stream(path) else str(Path(path).resolve())


def is_spooled(path: str) -> bool:
    """Return whether the file is refold's copy of standard input or another stream."""
    return Path(path).name.startswith(STDIN) and Path(path).parent.name.startswith(SPOOL_PREFIX)


def is_stream(name: str) -> bool:
    """Return whether a source can be read only once: standard input, a pipe such as <(…), a terminal.

    Raises `SourceError` for a device other than a terminal or the null device, because a device such as
    /dev/zero has no end.
    """
    if name == STDIN:
        return True
    if uris.is_uri(name) or object_store.is_object(name):
        return False
    try:
        status = Path(name).stat()
    except OSError:
        return False
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return True
    if stat.S_ISCHR(status.st_mode):
        if status.st_rdev == Path(os.devnull).stat().st_rdev or _is_terminal(name):
            return True
        raise SourceError(f"{name} is a device, not a file; name a file, or - for standard input.")
    if stat.S_ISBLK(status.st_mode):
        raise SourceError(f"{name} is a device, not a file; name a file, or - for standard input.")
    return False


def _is_terminal(name: str) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def open_file(path: str, format_name: str | None = None) -> FileSource:
    """Read the first bytes of a file and detect its format, or use `format_name` if given.

    Raises `SourceError` if the file is empty, unreadable, or in an unknown format.
    """
    head = _read_head(path)
    if object_store.is_object(path):
        size, modified = object_store.read_size_and_time(path)
    else:
        status = Path(path).stat()
        size, modified = status.st_size, status.st_mtime_ns
    if not head:
        raise SourceError(f"{path} is empty; it contains no events.")
    if head.startswith(_UTF16):
        raise SourceError(f"{path} is written in UTF-16; convert it to UTF-8 first.")
    if format_name is not None:
        if format_name not in _FORMATS_BY_NAME:
            raise SourceError(
                f"There is no format {format_name!r}; refold reads {', '.join(_FORMATS_BY_NAME)}."
            )
        return FileSource(path, _FORMATS_BY_NAME[format_name], head, size, modified)
    for form in FORMATS:
        if form.recognises(path, head):
            return FileSource(path, form, head, size, modified)
    if not head.strip():
        raise SourceError(f"{path} contains only blank lines; it has no events.")
    shown = head.lstrip()[:20].decode("utf-8", "replace")
    raise SourceError(
        f"{path} has no format that refold recognises (it begins with {shown!r});"
        f" choose one with --format: {', '.join(form.name for form in FORMATS)}."
    )


def derive_log_name(path: str) -> str:
    """Return the default name of a log: a file's name without extensions, or what a link points to."""
    if uris.is_uri(path):
        return uris.derive_log_name(path)
    name = Path(object_store.redact_uri(path) if object_store.is_object(path) else path).name
    while _HAS_EXTENSION.search(name):
        name = name.rsplit(".", 1)[0]
    return name or "log"


def _read_head(path: str) -> bytes:
    stream, _ = byte_streams.open_bytes(path)
    with stream:
        try:
            return stream.read(SAMPLE_BYTES)
        except byte_streams.STREAM_ERRORS as error:
            raise byte_streams.damaged_source_error(path, error) from error


def _natural_key(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
