"""Sources: what a person names as one log, as files in order, each with its format.

Several files are read in the order given; a pattern gives its matches in natural order
(`part-2` before `part-10`). The format is told by the bytes, then by the name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from storage import bytestreams
from storage.errors import SourceError
from storage.formats import SAMPLE_BYTES, Format
from storage.formats.arrow import ArrowIpc, Parquet
from storage.formats.console_consumer import ConsoleConsumer
from storage.formats.csv import Csv
from storage.formats.json_document import JsonDocument
from storage.formats.jsonl import JsonLines
from storage.formats.xes import Xes

FORMATS: tuple[Format, ...] = (
    *(Parquet(), ArrowIpc(), Xes(), JsonDocument(), JsonLines(), ConsoleConsumer(), Csv()),
)
"""Every format, in the order in which they are asked."""

STDIN = "-"
"""The name of standard input where a source is expected."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class File:
    """A file of a source, looked at."""

    path: str
    format: Format
    head: bytes
    """The first decompressed bytes."""
    size: int
    modified_ns: int


def expand(names: Sequence[str]) -> list[str]:
    """The files that these names and patterns stand for; raises `SourceError` where there is none."""
    paths: list[str] = []
    for name in names:
        if has_magic(name) and not Path(name).exists():
            found = sorted(glob(name, recursive=True), key=_natural)  # noqa: PTH207 - a pattern may be absolute
            if not found:
                raise SourceError(f"No file matches {name}.")
            paths.extend(path for path in found if Path(path).is_file())
        elif Path(name).exists() or name == STDIN:
            paths.append(name)
        else:
            raise SourceError(f"There is no file {name}.")
    doubled = [path for path in paths if paths.count(path) > 1]
    if doubled:
        raise SourceError(f"{doubled[0]} is named twice.")
    return paths


def look(path: str, wanted: str | None = None) -> File:
    """Open a file for its first bytes and tell its format; `wanted` names one instead.

    Raises `SourceError` for what is empty, unreadable, or in no format that refold knows.
    """
    head = _head(path)
    status = Path(path).stat()
    size, modified = status.st_size, status.st_mtime_ns
    if not head:
        raise SourceError(f"{path} is empty; there is no event in it.")
    if head.startswith(_UTF16):
        raise SourceError(f"{path} is written in UTF-16; convert it to UTF-8 first.")
    if wanted is not None:
        by_name = {form.name: form for form in FORMATS}
        if wanted not in by_name:
            raise SourceError(f"There is no format {wanted!r}; refold reads {', '.join(by_name)}.")
        return File(path, by_name[wanted], head, size, modified)
    for form in FORMATS:
        if form.recognises(path, head):
            return File(path, form, head, size, modified)
    if not head.strip():
        raise SourceError(f"{path} holds blank lines only; there is no event in it.")
    shown = head.lstrip()[:20].decode("utf-8", "replace")
    raise SourceError(
        f"{path} is in no format that refold knows (it begins with {shown!r});"
        f" name one of {', '.join(form.name for form in FORMATS)} with --format."
    )


def log_name(path: str) -> str:
    """The log's own name: the file's, without its endings."""
    name = Path(path).name
    while re.search(
        r"\.(gz|zst|xz|xes|jsonl|ndjson|json|csv|tsv|txt|parquet|pq|arrow|feather|ipc)$", name
    ):
        name = name.rsplit(".", 1)[0]
    return name or "log"


def _head(path: str) -> bytes:
    stream, _ = bytestreams.open_bytes(path)
    with stream:
        try:
            return stream.read(SAMPLE_BYTES)
        except bytestreams.Broken as error:
            raise bytestreams.broken(path, error) from error


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
