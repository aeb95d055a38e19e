"""Recordings from files of others, and into them.

Whatever comes in is redacted, and what goes out is looked through once more.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway import assignment, recording_store
from gateway.exchange import har, journal, vcr
from gateway.ports import Ports
from gateway.recording_store import Recorded
from gateway.redaction import Redactor
from storage.errors import SourceError
from storage.workspace.workspace import Workspace, read_fact, write_fact

WINDOW = timedelta(seconds=60)
"""How long after an event a call may have been made that is given to it by time."""
_AT_ONCE = 5_000
_BYTES_AT_ONCE = 64 << 20
_IMPORTED = "imported"
"""The fact that has the hashes of the files whose calls are there."""
_WRITERS = {
    ".yaml": vcr.write,
    ".yml": vcr.write,
    ".har": har.write,
    ".jsonl": journal.write,
    ".ndjson": journal.write,
}


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    calls: int
    assigned: int
    """Of them, those whose event is known."""
    without_answer: int
    """Of them, those that have no body in the file, though they had an answer."""
    secrets: bool
    """Whether there were any, which were taken out."""
    again: bool = False
    """Whether the same file was imported before, so that nothing is new."""


@dataclass(frozen=True)
class Exported:
    """What came of an export."""

    calls: int
    left_out: int
    """Calls that the format has no place for."""
    secrets: bool
    """Whether some were found that were not taken out before; they were now."""


def take_in(workspace: Workspace, path: Path, ports: Ports, window: timedelta = WINDOW) -> Imported:
    """Import a file; all of it or, where it can't be understood, nothing. Raises `SourceError`."""
    redactor = Redactor()
    total = empty = 0
    digest = _digest(path)
    with workspace.writing() as connection:
        before = read_fact(connection, _IMPORTED) or []
        if digest in before:
            return Imported(0, 0, 0, secrets=False, again=True)
        ((first,),) = connection.execute("SELECT coalesce(max(call), -1) + 1 FROM calls").fetchall()
        for page in _pages(_read(path, ports)):
            kept = [
                recording_store.redacted(one, redactor, ports.get(one.call.port).redact)
                for one in page
            ]
            recording_store.keep(connection, kept)
            total += len(kept)
            empty += sum(one.answer.status == 200 and not one.answer.body for one in kept)
        assigned = assignment.by_what_they_say(connection, first, window)
        write_fact(connection, _IMPORTED, [*before, digest])
    recording_store.look_again(workspace, redactor, "call >= ?", [first])
    return Imported(total, assigned, empty, redactor.knows)


def put_out(workspace: Workspace, path: Path) -> Exported:
    """Export all recordings to a file, in the format of its name; raises `SourceError`."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SourceError(
            f"{path}: recordings are exported as .jsonl (a journal), .yaml (a cassette of vcrpy) or .har."
        )
    scan = _Scan(Redactor())
    http_only = writer is not journal.write
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            stream.writelines(writer(scan.through(recording_store.all_of(workspace), http_only)))
        unfinished.replace(path)
    except OSError as error:
        raise SourceError(f"{path} can't be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Exported(scan.passed, scan.left_out, scan.changed)


class _Scan:
    """Looks once more through what goes out."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.passed = self.left_out = 0
        self.changed = False

    def through(self, found: Iterable[Recorded], http_only: bool) -> Iterator[Recorded]:
        for one in found:
            if http_only and not one.call.is_http:
                self.left_out += 1
                continue
            clean = recording_store.redacted(one, self._redactor)
            same = clean.call.request == one.call.request and clean.answer.body == one.answer.body
            self.changed = self.changed or not same
            self.passed += 1
            yield clean


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def _read(path: Path, ports: Ports) -> Iterator[Recorded]:
    """The calls of a file, whatever it is."""
    try:
        with path.open("rb") as stream:
            start = stream.read(1 << 16)
            if path.suffix.lower() in (".jsonl", ".ndjson") or not _is_whole(path, start):
                stream.seek(0)
                yield from journal.read(stream, ports, str(path))
                return
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    reader: Callable[[bytes, Ports, str], Iterator[Recorded]] = (
        har.read if _is_har(path, start) else vcr.read
    )
    yield from reader(text, ports, str(path))


def _is_har(path: Path, start: bytes) -> bool:
    return path.suffix.lower() == ".har" or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _is_whole(path: Path, start: bytes) -> bool:
    """Whether it is one document, not a line a call."""
    if path.suffix.lower() in (".har", ".yaml", ".yml"):
        return True
    first = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    line = first.partition(b"\n")[0].strip()
    if first[:1] == b"{":
        return b'"log"' in first[:2000] or not line.endswith(b"}")
    return True


def _pages(found: Iterator[Recorded]) -> Iterator[list[Recorded]]:
    page: list[Recorded] = []
    size = 0
    for one in found:
        page.append(one)
        size += len(one.answer.body)
        if len(page) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield page
            page, size = [], 0
    if page:
        yield page
