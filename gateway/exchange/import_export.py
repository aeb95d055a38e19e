"""Imports recordings from files of other tools, and exports them.

Recordings are redacted on import, and once more on export.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway import call_assignment, recording_store
from gateway.exchange import har, journal, vcr
from gateway.ports import PortSet
from gateway.recording_store import Recording
from gateway.redaction import Redactor
from storage import abandoned_files
from storage.errors import SourceError
from storage.workspace.workspace import Workspace, read_metadata, write_metadata

ASSIGNMENT_WINDOW = timedelta(seconds=60)
"""Longest time between an event and a call that is assigned to it by time alone."""
_PAGE_SIZE = 5_000
_BYTES_AT_ONCE = 64 << 20
_IMPORTED_KEY = "imported"
"""Metadata key of the hashes of imported files."""
_WRITERS = {
    ".yaml": vcr.write_cassette,
    ".yml": vcr.write_cassette,
    ".har": har.write_har,
    ".jsonl": journal.write_journal,
    ".ndjson": journal.write_journal,
}


@dataclass(frozen=True)
class RecordingImportResult:
    """Result of an import."""

    call_count: int
    assigned_count: int
    """Number of calls assigned to an event."""
    without_answer_count: int
    """Number of calls that have an answer without a body in the file."""
    has_secrets: bool
    """Whether secrets were found; they were redacted."""
    was_imported_before: bool = False
    """Whether the same file was imported before; nothing was imported again."""


@dataclass(frozen=True)
class RecordingExportResult:
    """Result of an export."""

    call_count: int
    left_out_count: int
    """Number of calls that the format can't hold."""
    has_secrets: bool
    """Whether secrets were found that the stored recordings still hold; the file has none."""


def import_recordings(
    workspace: Workspace, path: Path, ports: PortSet, window: timedelta = ASSIGNMENT_WINDOW
) -> RecordingImportResult:
    """Import all calls of a file, or none if it can't be read. Raises `SourceError`.

    Calls without a matching id go to the last event at most `window` before them.
    """
    redactor = Redactor()
    call_count = without_answer_count = 0
    digest = _hash_file(path)
    with workspace.writing() as connection:
        imported_digests = read_metadata(connection, _IMPORTED_KEY) or []
        if digest in imported_digests:
            return RecordingImportResult(0, 0, 0, has_secrets=False, was_imported_before=True)
        ((first_call,),) = connection.execute(
            "SELECT coalesce(max(call), -1) + 1 FROM calls"
        ).fetchall()
        for page in _split_pages(_read_recordings(path, ports)):
            redacted_page = [
                recording_store.redact_recording(
                    one, redactor, ports.get_port(one.call.port).redact
                )
                for one in page
            ]
            recording_store.insert_recordings(connection, redacted_page)
            call_count += len(redacted_page)
            without_answer_count += sum(
                one.answer.status == 200 and not one.answer.body for one in redacted_page
            )
        assigned = call_assignment.assign_from_content(connection, first_call, window)
        write_metadata(connection, _IMPORTED_KEY, [*imported_digests, digest])
    recording_store.redact_stored_recordings(workspace, redactor, "call >= ?", [first_call])
    return RecordingImportResult(call_count, assigned, without_answer_count, redactor.has_secrets)


def export_recordings(workspace: Workspace, path: Path) -> RecordingExportResult:
    """Export all recordings; the suffix of `path` decides the format. Raises `SourceError`."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SourceError(
            f"{path} has no suffix of an export format; use .jsonl (journal), .yaml (vcrpy cassette) or .har."
        )
    redaction_pass = _RedactionPass(Redactor())
    http_only = writer is not journal.write_journal
    unfinished = abandoned_files.unfinished_path(path.parent, f"{path.name}.part-")
    try:
        abandoned_files.remove_abandoned(path.parent, f"{path.name}.part-")
        with unfinished.open("wb") as stream:
            stream.writelines(
                writer(
                    redaction_pass.redact_all(
                        recording_store.iterate_recordings(workspace), http_only
                    )
                )
            )
        unfinished.replace(path)
    except OSError as error:
        raise SourceError(f"{path} can't be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return RecordingExportResult(
        redaction_pass.passed_count, redaction_pass.left_out_count, redaction_pass.has_changed
    )


class _RedactionPass:
    """Redacts recordings on export, and counts them."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.passed_count = self.left_out_count = 0
        self.has_changed = False

    def redact_all(self, recordings: Iterable[Recording], http_only: bool) -> Iterator[Recording]:
        for recording in recordings:
            if http_only and not recording.call.is_http:
                self.left_out_count += 1
                continue
            redacted = recording_store.redact_recording(recording, self._redactor)
            is_unchanged = (
                redacted.call.request == recording.call.request
                and redacted.answer.body == recording.answer.body
            )
            self.has_changed = self.has_changed or not is_unchanged
            self.passed_count += 1
            yield redacted


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def _read_recordings(path: Path, ports: PortSet) -> Iterator[Recording]:
    """The calls of a file, in any supported format."""
    try:
        with path.open("rb") as stream:
            start = stream.read(1 << 16)
            if path.suffix.lower() in (".jsonl", ".ndjson") or not _is_one_document(path, start):
                stream.seek(0)
                yield from journal.read_journal(stream, ports, str(path))
                return
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    reader: Callable[[bytes, PortSet, str], Iterator[Recording]] = (
        har.read_har if _is_har(path, start) else vcr.read_cassette
    )
    yield from reader(text, ports, str(path))


def _is_har(path: Path, start: bytes) -> bool:
    return path.suffix.lower() == ".har" or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _is_one_document(path: Path, start: bytes) -> bool:
    """Whether a file is one document, not one call per line."""
    if path.suffix.lower() in (".har", ".yaml", ".yml"):
        return True
    first = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    line = first.partition(b"\n")[0].strip()
    if first[:1] == b"{":
        return b'"log"' in first[:2000] or not line.endswith(b"}")
    return True


def _split_pages(recordings: Iterator[Recording]) -> Iterator[list[Recording]]:
    page: list[Recording] = []
    size = 0
    for one in recordings:
        page.append(one)
        size += len(one.answer.body)
        if len(page) >= _PAGE_SIZE or size >= _BYTES_AT_ONCE:
            yield page
            page, size = [], 0
    if page:
        yield page
