"""Fork files: a fork's edits, the position where it branches, and a fingerprint of its log, as JSON.

A fork file contains only what a person made. It can be applied to the same log on another machine,
even if the log has grown; for a different log, the error names the first difference.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from storage.atomic_write import write_atomically
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import PositionError, QueryError, SourceError
from storage.timelines import edits, event_json, fork_store, log_fingerprint
from storage.timelines.edits import EVENT_FIELDS, Edit, EditedEvent
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, list_fork_values, open_fork
from storage.timelines.log_fingerprint import LogFingerprint
from storage.workspace.workspace import Workspace

FORMAT_VERSION = 1


class _EditEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    kind: str
    at: tuple[int, int]
    after: tuple[int, int] | None = None
    moved: tuple[int, int] | None = None
    event: dict[str, Any] | None = None
    said: str | None = None


class _ForkEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    at: tuple[int, int]
    note: str
    steps: list[list[_EditEntry]]


class _LogEntry(msgspec.Struct, forbid_unknown_fields=True):
    events: int
    width: int
    hashes: str


class _ForkFile(msgspec.Struct, forbid_unknown_fields=True):
    refold_fork: int
    log: _LogEntry
    forks: list[_ForkEntry]


def write_fork_file(forked_workspace: ForkedWorkspace, path: Path, *, replace: bool = False) -> int:
    """Write a fork and its ancestors, and return the size of the file in bytes.

    Raises `QueryError` if the file exists and `replace` is false.
    """
    if path.exists() and not replace:
        raise _file_exists_error(path)
    lineage = list_fork_values(forked_workspace)
    with forked_workspace.main_workspace.reading() as connection:
        fingerprint = log_fingerprint.take_log_fingerprint(
            connection, forked_workspace.main_workspace.count_positions(connection)
        )
    log = _LogEntry(fingerprint.event_count, fingerprint.events_per_hash, fingerprint.hashes)
    content = msgspec.json.encode(
        _ForkFile(FORMAT_VERSION, log, [_build_fork_entry(one) for one in lineage])
    )
    lines = msgspec.json.format(content, indent=1) + b"\n"
    try:
        write_atomically(path, lines, replace=replace)
    except FileExistsError as error:  # it was created meanwhile
        raise _file_exists_error(path) from error
    return len(lines)


def _file_exists_error(path: Path) -> QueryError:
    return QueryError(f"{path} exists already. Overwrite it with --replace.")


def apply_fork_file(workspace: Workspace, path: Path, name: str | None = None) -> ForkedWorkspace:
    """Create the forks of a file, and return the last one, under another `name` if one is given.

    Ancestors that exist already with the same edits are reused. Raises `SourceError` if the file is
    invalid or belongs to another log, and `WorkspaceError` if a name is invalid or taken.
    """
    file = _read_fork_file(path)
    log = LogFingerprint(file.log.events, file.log.width, file.log.hashes)
    with workspace.main_workspace.reading() as connection:
        difference = log_fingerprint.describe_log_difference(connection, log)
    if difference is not None:
        raise SourceError(f"{path} belongs to another log than {workspace.path}: {difference}.")
    generation = workspace.main_workspace.generation
    existing_by_name = {one.name: one for one in fork_store.list_forks(workspace)}
    forked_workspace: Workspace = workspace.main_workspace
    new: list[ForkedWorkspace] = []
    for index, fork_entry in enumerate(file.forks):
        last = index == len(file.forks) - 1
        timeline = _build_timeline(
            fork_entry,
            forked_workspace.timeline,
            (name or fork_entry.name) if last else fork_entry.name,
            path,
        )
        existing = existing_by_name.get(timeline.name)
        if existing is not None and not last and existing.digest == timeline.digest:
            forked_workspace = ForkedWorkspace(forked_workspace, existing)
            continue
        fork_store.validate_name(timeline.name)
        forked_workspace = _overlay_fork(forked_workspace, timeline, path)
        new.append(forked_workspace)
    with workspace.main_workspace.writing(generation=generation) as connection:
        for one in new:
            fork_store.create(connection, list_fork_values(one))
    if not new:
        raise SourceError(f"{path} contains no fork.")
    return open_fork(workspace, forked_workspace.timeline)


def _overlay_fork(parent: Workspace, fork: Fork, path: Path) -> ForkedWorkspace:
    """Return the fork over its parent; raise `SourceError` if an edit is incomplete or can't apply."""
    for one in fork.edits:
        if one.kind.needs_event and one.event is None:
            raise SourceError(
                f"{path}: the edit '{one.kind.value}' at {one.label} lacks its event."
            )
    try:
        return ForkedWorkspace(parent, fork)
    except PositionError as error:
        raise SourceError(
            f"{path} contains an edit that can't be applied: {error.message}"
        ) from error


def _read_fork_file(path: Path) -> _ForkFile:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_ForkFile)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} isn't a fork file of refold: {error}.") from error
    if file.refold_fork > FORMAT_VERSION:
        raise SourceError(f"{path} was written by a newer refold. Update refold to apply it.")
    return file


def _build_fork_entry(timeline: Fork) -> _ForkEntry:
    steps: dict[int, list[_EditEntry]] = {}
    for edit in timeline.active_edits:
        steps.setdefault(edit.step, []).append(_build_edit_entry(edit))
    at = (timeline.at.offset, timeline.at.inserted)
    return _ForkEntry(timeline.name, at, timeline.note, list(steps.values()))


def _build_edit_entry(edit: Edit) -> _EditEntry:
    def pair(label: Label | None) -> tuple[int, int] | None:
        return None if label is None else (label.offset, label.inserted)

    event = None
    if edit.event is not None:
        event = {name: getattr(edit.event, name) for name in EVENT_FIELDS}
        event["time"] = None if edit.event.time is None else edit.event.time.isoformat()
    return _EditEntry(
        edit.kind.value,
        (edit.label.offset, edit.label.inserted),
        pair(edit.after),
        pair(edit.moved),
        event,
        edit.value,
    )


def _build_timeline(fork_entry: _ForkEntry, parent: str, name: str, path: Path) -> Fork:
    fork_edits: list[Edit] = []
    for step in fork_entry.steps:
        fork_edits = edits.append_step(fork_edits, [_build_edit(one, path) for one in step])
    return Fork(name, parent, Label(*fork_entry.at), fork_entry.note, fork_edits)


def _build_edit(edit_entry: _EditEntry, path: Path) -> Edit:
    try:
        kind = EditKind(edit_entry.kind)
        event = None if edit_entry.event is None else _build_event(edit_entry.event)
    except (ValueError, QueryError) as error:
        raise SourceError(f"{path} contains an invalid edit: {error}.") from error
    return Edit(
        kind,
        Label(*edit_entry.at),
        None if edit_entry.after is None else Label(*edit_entry.after),
        None if edit_entry.moved is None else Label(*edit_entry.moved),
        event,
        edit_entry.said,
    )


def _build_event(fields: dict[str, Any]) -> EditedEvent:
    nothing = EditedEvent(**dict.fromkeys(EVENT_FIELDS))
    texts = {name: fields.pop(name, None) for name in ("data", "meta")}
    for text in texts.values():
        if text is not None:
            json.loads(text)
    event = event_json.parse_event(json.dumps(fields), nothing)
    return EditedEvent(**{**vars(event), **texts})
