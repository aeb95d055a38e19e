"""A fork as a small file: its edits, where it branches, and a fingerprint of the log under it.

It is JSON, and holds no more than a person made. It is applied to the same log elsewhere, also to one
that has grown since; another log is refused with the first difference.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import PositionError, QueryError, SourceError
from storage.timelines import edits, event_json, log_fingerprint, store
from storage.timelines import workspace_view as seeing
from storage.timelines.edits import EVENT_FIELDS, Edit, Event
from storage.timelines.log_fingerprint import LogFingerprint
from storage.timelines.store import Timeline
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

FORMAT = 1


class _Edit(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    kind: str
    at: tuple[int, int]
    after: tuple[int, int] | None = None
    moved: tuple[int, int] | None = None
    event: dict[str, Any] | None = None
    said: str | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    at: tuple[int, int]
    note: str
    steps: list[list[_Edit]]


class _Log(msgspec.Struct, forbid_unknown_fields=True):
    events: int
    width: int
    hashes: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    refold_fork: int
    log: _Log
    forks: list[_Line]


def write(seen: Seen, path: Path, *, replace: bool = False) -> int:
    """Write a fork, with those that it stands on, and return the bytes of the file."""
    if path.exists() and not replace:
        raise QueryError(f"{path} is there already; --replace writes over it.")
    line: list[Timeline] = []
    above: Workspace = seen
    while isinstance(above, Seen):
        line.insert(0, above.fork)
        above = above.parent
    with seen.file.reading() as connection:
        mark = log_fingerprint.take(connection, seen.file.events(connection))
    log = _Log(mark.events, mark.width, mark.hashes)
    content = msgspec.json.encode(_File(FORMAT, log, [_line(one) for one in line]))
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(msgspec.json.format(content, indent=1) + b"\n")
    unfinished.replace(path)
    return path.stat().st_size


def apply(workspace: Workspace, path: Path, name: str | None = None) -> Seen:
    """Make the forks of a file again, the last of them under another name if one is given.

    Forks that it stands on are used where they are there already, edit for edit. Raises
    `SourceError` where the file can't be understood, or its log is another one.
    """
    file = _read(path)
    log = LogFingerprint(file.log.events, file.log.width, file.log.hashes)
    with workspace.file.reading() as connection:
        difference = log_fingerprint.difference(connection, log)
    if difference is not None:
        raise SourceError(f"{path} is a fork of another log than {workspace.path}: {difference}.")
    generation = workspace.file.generation
    there = {one.name: one for one in store.known(workspace)}
    seen: Workspace = workspace.file
    new: list[Seen] = []
    for place, said in enumerate(file.forks):
        last = place == len(file.forks) - 1
        wanted = _timeline(said, seen.timeline, (name or said.name) if last else said.name, path)
        known = there.get(wanted.name)
        if known is not None and not last and known.digest == wanted.digest:
            seen = Seen(seen, known)
            continue
        store.checked_name(wanted.name)
        seen = _laid_over(seen, wanted, path)
        new.append(seen)
    with workspace.file.writing(generation=generation) as connection:
        for one in new:
            store.create(connection, one.lineage)
    found = seeing.on(workspace.file, seen.timeline)
    if not isinstance(found, Seen):
        raise SourceError(f"{path} holds no fork.")
    return found


def _laid_over(parent: Workspace, wanted: Timeline, path: Path) -> Seen:
    """The fork over its parent; raise `SourceError` where its edits can't hold together."""
    for one in wanted.edits:
        if one.kind.needs_event and one.event is None:
            raise SourceError(f"{path} has a {one.kind.value} at {one.label} without its event.")
    try:
        return Seen(parent, wanted)
    except PositionError as error:
        raise SourceError(f"{path} holds an edit that can't be applied: {error.message}") from error


def _read(path: Path) -> _File:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is no fork that refold wrote: {error}.") from error
    if file.refold_fork > FORMAT:
        raise SourceError(f"{path} was written by a newer refold; update refold to apply it.")
    return file


def _line(timeline: Timeline) -> _Line:
    steps: dict[int, list[_Edit]] = {}
    for edit in timeline.active:
        steps.setdefault(edit.step, []).append(_said(edit))
    at = (timeline.at.offset, timeline.at.inserted)
    return _Line(timeline.name, at, timeline.note, list(steps.values()))


def _said(edit: Edit) -> _Edit:
    def pair(label: Label | None) -> tuple[int, int] | None:
        return None if label is None else (label.offset, label.inserted)

    event = None
    if edit.event is not None:
        event = {name: getattr(edit.event, name) for name in EVENT_FIELDS}
        event["time"] = None if edit.event.time is None else edit.event.time.isoformat()
    return _Edit(
        edit.kind.value,
        (edit.label.offset, edit.label.inserted),
        pair(edit.after),
        pair(edit.moved),
        event,
        edit.said,
    )


def _timeline(said: _Line, parent: str, name: str, path: Path) -> Timeline:
    found: list[Edit] = []
    for step in said.steps:
        found = edits.appended(found, [_edit(one, path) for one in step])
    return Timeline(name, parent, Label(*said.at), said.note, found)


def _edit(said: _Edit, path: Path) -> Edit:
    try:
        kind = EditKind(said.kind)
        event = None if said.event is None else _event(said.event)
    except (ValueError, QueryError) as error:
        raise SourceError(f"{path} holds an edit that can't be understood: {error}.") from error
    return Edit(
        kind,
        Label(*said.at),
        None if said.after is None else Label(*said.after),
        None if said.moved is None else Label(*said.moved),
        event,
        said.said,
    )


def _event(said: dict[str, Any]) -> Event:
    nothing = Event(**dict.fromkeys(EVENT_FIELDS))
    texts = {name: said.pop(name, None) for name in ("data", "meta")}
    for text in texts.values():
        if text is not None:
            json.loads(text)
    event = event_json.read(json.dumps(said), nothing)
    return Event(**{**vars(event), **texts})
