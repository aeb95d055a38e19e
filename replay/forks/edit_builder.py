"""Editing the past of a fork: what a person asks for, as edits of single events.

All positions are those of the timeline that is edited, as it was before: of the parent, while a fork
is made. Nothing is kept before all of it is known to be possible.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from replay.document import diff, paths
from replay.document.paths import Path
from replay.forks.step_events import EventsOfStep
from replay.query import event_filter
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import Overlay
from storage.errors import PositionError, QueryError, StaleError, WorkspaceError, one_line
from storage.log.event_log import EventLog
from storage.timelines import edits, event_json, store
from storage.timelines import workspace_view as seeing
from storage.timelines.edits import EVENT_FIELDS, Edit, Event
from storage.timelines.store import Timeline
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

_PAGE = 100
_NOTHING = Event(**dict.fromkeys(EVENT_FIELDS))
MOST = 1_000_000
"""Events that are edited at once."""


class Editing:
    """Wishes for the events of one timeline, collected as edits."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        """`name` is what the fork is called, on which these edits will be."""
        self._workspace = workspace
        self._log = EventLog(workspace)
        self.name = name
        self._taken: dict[int, int] = {}
        """How many inserted events there are by now after an event of the log."""
        self._step = EventsOfStep(self._label)
        self.edits: list[Edit] = []

    @property
    def workspace(self) -> Workspace:
        """The timeline that is edited, as it was before."""
        return self._workspace

    def drop(self, place: int) -> None:
        """Let an event never have happened."""
        self._event(place)
        self.drop_all([place])

    def drop_all(self, places: Iterable[int]) -> int:
        """The same for many that are known to be there; how many of them weren't dropped before."""
        new = [
            Edit(EditKind.DROP, self._label(place)) for place in places if self._step.drop(place)
        ]
        self.edits += new
        return len(new)

    def replace(self, place: int, text: str, shown: Event | None = None) -> None:
        """Put what a person wrote in an event's place; what it leaves out stays.

        `shown` is the event as the person saw it. Raise `QueryError` when it is another one by now.
        """
        there = self._event(place)
        if shown is not None and shown != there:
            raise QueryError(
                f"The event at {self._label(place)} was changed by another refold while you edited it;"
                " edit it again."
            )
        event = self._step.replace(place, event_json.read(text, there))
        self.edits.append(Edit(EditKind.REPLACE, self._label(place), event=event))

    def set(self, place: int, path: str, value: str) -> None:
        """Change one value: a path into the data, or a field of the event such as `type`.

        Several values of one event may be set, each once. Raise `QueryError` otherwise.
        """
        self.set_all([place], path, value)

    def set_all(self, places: Sequence[int], path: str, value: str) -> None:
        """Change the same value in many events, at ascending places; the events are read in batches."""
        change, steps = event_change(path, value), _steps(path)
        found = 0
        for there in self._log.details_at([place for place in places if place >= 0]):
            place = there.offset
            before = self._step.event(place) or Event(
                **{name: getattr(there, name) for name in EVENT_FIELDS}
            )
            event = self._step.set(place, steps, change(before))
            self.edits.append(Edit(EditKind.REPLACE, self._label(place), event=event))
            found += 1
        if found < len(places):
            for place in places:
                self._event(place)  # raises for the one that isn't there

    def insert(self, after: int, text: str) -> Label:
        """Put what a person wrote after a position; what it is called there."""
        label = self._new_label(after)
        there = replace(_NOTHING, time=self._time(after), id=self._id(label))
        event = event_json.read(text, there)
        if event.stream is None:
            raise QueryError(
                'The new event has no stream; give it one, as in {"stream": "order-17"}.'
            )
        self.edits.append(Edit(EditKind.INSERT, label, self._label(after), event=event))
        return label

    def append(self, text: str) -> Label:
        """Put what a person wrote at the end."""
        return self.insert(self._last(), text)

    def move(self, place: int, after: int) -> Label:
        """Let an event happen after another position."""
        event = self._event(place)
        if after in (place, place - 1):
            raise QueryError(f"The event at {self._label(place)} is there already.")
        self._step.move(place)
        label = self._new_label(after)
        self.edits.append(
            Edit(EditKind.MOVE, label, self._label(after), self._label(place), event=event)
        )
        return label

    def reverse(self, place: int, only: Sequence[str] = ()) -> Label:
        """Append what takes an event back: the same with its numbers negated, all or at some paths."""
        self._step.refuse_dropped(place)
        event = self._event(place)
        try:
            data = diff.decode(event.data)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"The data of {self._label(place)} can't be read as JSON ({one_line(error)})."
            ) from error
        if only:
            for path in map(paths.read, only):
                number = paths.value_at(data, path)
                if not _is_number(number):
                    raise QueryError(f"There is no number at {paths.write(path)} to be negated.")
                data = _with(data, path, -number)
        else:
            data = _negated(data)
        label = self._new_label(self._last())
        made = replace(
            event,
            data=diff.encode(data),
            id=self._id(label),
            time=self._time(self._last()),
            revision=None,
            causation_id=event.id,
        )
        self.edits.append(Edit(EditKind.INSERT, label, self._label(self._last()), event=made))
        return label

    def matching(self, condition: str) -> list[int]:
        """The places of all events for which a condition holds; raises `QueryError`."""
        found = list(event_filter.matching(self._workspace, condition))
        if not found:
            raise QueryError(f"No event matches {condition!r}, so there is nothing to edit.")
        if len(found) > MOST:
            raise QueryError(
                f"{len(found):,} events match {condition!r}; {MOST:,} are edited at most."
            )
        return found

    def between(self, first: int, last: int) -> list[int]:
        """The places of all events from one to another."""
        if first > last:
            raise QueryError("The first event of the range is behind its last.")
        found = list(self._log.matching(f"offset >= {max(first, 0)} AND offset <= {last}"))
        if len(found) > MOST:
            raise QueryError(
                f"{len(found):,} events are in the range; {MOST:,} are edited at most."
            )
        return found

    def _last(self) -> int:
        return self._log.extent().events - 1

    def _event(self, place: int) -> Event:
        """The event at a place, with the edits of this step; raise `PositionError` where none is."""
        edited = self._step.event(place)
        if edited is not None:
            return edited
        found = self._log.event(place) if place >= 0 else None
        if found is None:
            label = "start" if place < 0 else self._label(place)
            raise PositionError(
                f"There is no event at {label} on {self._workspace.timeline} to be edited."
            )
        return Event(**{name: getattr(found, name) for name in EVENT_FIELDS})

    def _time(self, place: int) -> datetime | None:
        """When the last event happened that there is up to a place."""
        while place >= 0:
            found = self._log.rows(max(place - _PAGE, 0), min(_PAGE, place) + 1)
            if found:
                return found[-1].time
            place -= _PAGE + 1
        return None

    def _label(self, place: int) -> Label:
        return self._workspace.label(place)

    def _new_label(self, after: int) -> Label:
        offset = self._label(after).offset
        if offset not in self._taken:
            self._taken[offset] = highest_label(self._workspace, offset)
        self._taken[offset] += 1
        return Label(offset, self._taken[offset])

    def _id(self, label: Label) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"refold:{self.name}:{label}"))


def highest_label(workspace: Workspace, offset: int) -> int:
    """The highest number that an event has which was inserted after one of the log's, on this
    timeline or those that it was forked from."""
    highest = 0
    while isinstance(workspace, Seen):
        taken = [e.label.inserted for e in workspace.fork.edits if e.label.offset == offset]
        highest = max([highest, *taken])
        workspace = workspace.parent
    return highest


def fork(
    parent: Workspace,
    name: str,
    new: Sequence[Edit],
    *,
    at: int | None = None,
    note: str = "",
) -> Seen:
    """A fork of a timeline with these edits, which is not kept yet.

    It branches `at` a place of the parent's, or before its first edit. Raises `WorkspaceError`,
    `PositionError` and `QueryError`.
    """
    store.refuse_name(parent, name)
    overlay = parent.overlay
    # Other answers and other code may be asked for from any position on.
    of_events = _first(overlay, [one for one in new if one.kind.of_events])
    if at is None:
        first = _first(overlay, new)
        at = overlay.events - 1 if first is None else first - 1
    elif of_events is not None and of_events <= at:
        raise PositionError(
            f"The first edit, at {parent.label(of_events)}, lies before the fork at"
            f" {parent.label(at)}; let the fork branch earlier."
        )
    made = Timeline(name, parent.timeline, parent.label(at), note, edits.appended([], new))
    return Seen(parent, made)


def keep(seen: Seen) -> Seen:
    """Keep a fork as it is; folding it keeps it too.

    Raise `StaleError` when its file holds another version of it, and `WorkspaceError` when its name
    is taken or other forks stand on it.
    """
    with seen.file.writing() as connection:
        store.keep(connection, seen.lineage, seen.before)
    return _as_kept(seen)


def create(seen: Seen) -> Seen:
    """Keep a new fork; raise as `keep` does, also where an equal fork has its name."""
    with seen.file.writing() as connection:
        store.create(connection, seen.lineage)
    return _as_kept(seen)


def _as_kept(seen: Seen) -> Seen:
    found = seeing.on(seen.file, seen.timeline)
    seen.file.release()  # as after every write: others may be waiting
    if not isinstance(found, Seen):
        raise WorkspaceError("The log itself is never changed; fork it, and edit the fork.")
    return found


Made = TypeVar("Made", Seen, Seen | None)


def change(workspace: Workspace, attempt: Callable[[Workspace], Made]) -> Made:
    """Keep what `attempt` makes of a timeline: a new fork of it, or the fork with other edits.

    `attempt` gets the timeline as the file holds it, and is called again whenever another process
    changes the timeline before the result is kept. So no edit is lost, and no value comes back that
    was removed. Return None when `attempt` does.
    """
    while True:
        generation = workspace.file.generation
        made = attempt(seeing.on(workspace.file, workspace.timeline))
        if made is None:
            return made
        try:
            with made.file.writing(generation=generation) as connection:
                if made.before is None:
                    store.create(connection, made.lineage)
                else:
                    store.keep(connection, made.lineage, made.before)
        except StaleError:
            continue
        return _as_kept(made)


def edited(seen: Seen, new: Sequence[Edit]) -> Seen:
    """A fork with further edits, made in one step, which isn't kept yet. Raises `WorkspaceError`."""
    return _changed(seen, edits.appended(seen.fork.edits, new))


def undone(seen: Seen) -> Seen | None:
    """A fork without its last step, not kept yet; None where there is none."""
    found = edits.undone(seen.fork.edits)
    return None if found is None else _changed(seen, found)


def redone(seen: Seen) -> Seen | None:
    """A fork with what was last undone, not kept yet; None where nothing was."""
    found = edits.redone(seen.fork.edits)
    return None if found is None else _changed(seen, found)


def _changed(seen: Seen, found: Sequence[Edit]) -> Seen:
    fork, overlay = seen.fork, seen.parent.overlay
    active = [one for one in found if not one.undone]
    first = _first(overlay, active)
    at = fork.at
    if first is not None and first - 1 < overlay.place(at):
        at = overlay.label(first - 1)
    changed = replace(fork, edits=found, at=at)
    store.refuse_change(seen.file, fork.name)
    return Seen(seen.parent, changed, seen.before or fork)


def _first(overlay: Overlay, found: Iterable[Edit]) -> int | None:
    """The first place of the parent's that edits touch."""
    own = {one.label for one in found if one.kind in (EditKind.INSERT, EditKind.MOVE)}
    places = []
    for one in found:
        if one.kind is EditKind.ANSWERS:
            override = diff.decode(one.said)
            places.append(min(max(int(override.get("from", 0)), 0), overlay.events))
        elif one.kind is EditKind.BASE:
            places.append(0)
        for label, behind in ((one.after, 1), (one.moved, 0), (one.label, 0)):
            if label is not None and label not in own and one.kind.of_events:
                places.append(overlay.place(label) + behind)
    return min(places, default=None)


def changed(event: Event, path: str, value: str) -> Event:
    """An event with another value at a path into its data, or in a field; raises `QueryError`."""
    return event_change(path, value)(event)


def event_change(path: str, value: str) -> Callable[[Event], Event]:
    """A function that sets a value in an event: at a path into its data, or in a field.

    Both raise `QueryError`.
    """
    written = value if _is_json(value) else diff.encode(value)
    first, *rest = _steps(path)
    if first != "data":
        return partial(event_json.read, f'{{"{first}": {written}}}')
    steps, new = tuple(rest), diff.decode(written)

    def change(event: Event) -> Event:
        try:
            data = diff.decode(event.data)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"The event's data can't be read as JSON ({one_line(error)}), so nothing can be set"
                " in it."
            ) from error
        return replace(event, data=diff.encode(_with(data, steps, new)))

    return change


def _steps(path: str) -> Path:
    """A path from the event on: a field's name alone, or `data` and the path into it."""
    steps = paths.read(path)
    if steps and steps[0] == "data":
        return steps
    if len(steps) == 1 and steps[0] in EVENT_FIELDS:
        return steps
    return ("data", *steps)


def _is_json(text: str) -> bool:
    try:
        diff.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _with(value: Any, path: Path, new: Any) -> Any:
    """A value with another one at a path."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, str(step): _with(value.get(str(step), paths.ABSENT), rest, new)}
    if isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
        place = int(step)
        return [*value[:place], _with(value[place], rest, new), *value[place + 1 :]]
    if value is paths.ABSENT and not str(step).isdecimal():
        return {str(step): _with(paths.ABSENT, rest, new)}
    raise QueryError(f"There is nothing at {paths.write(path)} that a value could be set in.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _negated(value: Any) -> Any:
    """A value with every number in it negated."""
    if isinstance(value, dict):
        return {name: _negated(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_negated(inner) for inner in value]
    return -value if _is_number(value) else value
