"""Builds the edits of a fork from what a person asks for, and saves forks with new edits.

All positions are those of the edited timeline before the edits: of the parent while a fork is created.
Nothing is saved before every edit is known to be possible.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from replay.document import diff, paths
from replay.forks import event_values
from replay.forks.step_events import StepEvents
from replay.query import event_filter
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import PositionMap
from storage.errors import PositionError, QueryError, StaleError, summarize_error
from storage.log.event_log import EventLog
from storage.timelines import edits, event_json, fork_store, forked_workspace
from storage.timelines.edits import EVENT_FIELDS, Edit, EditedEvent
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, list_fork_values
from storage.workspace.workspace import Workspace

_PAGE_EVENTS = 100
_EMPTY_EVENT = EditedEvent(**dict.fromkeys(EVENT_FIELDS))
MAX_EDITED_EVENTS = 1_000_000
"""The most events that one command edits."""


class EditBuilder:
    """Collects edits of the events of one timeline, as one step."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        """`name` is the name of the fork that will contain the edits."""
        self._workspace = workspace
        self._log = EventLog(workspace)
        self.name = name
        self._inserted_counts: dict[int, int] = {}
        """The highest number of an event inserted after an offset of the log."""
        self._step = StepEvents(self._label)
        self.edits: list[Edit] = []

    @property
    def workspace(self) -> Workspace:
        """The edited timeline, without the new edits."""
        return self._workspace

    def drop(self, position: int) -> None:
        """Drop an event; raise `PositionError` if there is none at the position."""
        self._load_event(position)
        self.drop_all([position])

    def drop_all(self, positions: Iterable[int]) -> int:
        """Drop many events that are known to exist; return how many this step hadn't dropped yet."""
        drops = [
            Edit(EditKind.DROP, self._label(position))
            for position in positions
            if self._step.drop(position)
        ]
        self.edits += drops
        return len(drops)

    def replace(self, position: int, text: str, shown: EditedEvent | None = None) -> None:
        """Replace an event by JSON that a person wrote; fields that the JSON leaves out stay.

        `shown` is the event as the person saw it. Raise `QueryError` if it has changed since.
        """
        current = self._load_event(position)
        if shown is not None and shown != current:
            raise QueryError(
                f"The event at {self._label(position)} was changed by another refold while you edited it;"
                " edit it again."
            )
        event = self._step.replace(position, event_json.parse_event(text, current))
        self.edits.append(Edit(EditKind.REPLACE, self._label(position), event=event))

    def set(self, position: int, path: str, value: str) -> None:
        """Set one value of an event: at a path into its data, or a field such as `type`.

        Several values of one event may be set. Raise `QueryError` if one is set twice.
        """
        self.set_all([position], path, value)

    def set_all(self, positions: Sequence[int], path: str, value: str) -> None:
        """Set the same value in many events, at ascending positions; events are read in batches."""
        change, steps = (
            event_values.build_event_change(path, value),
            event_values.parse_event_path(path),
        )
        event_count = 0
        for loaded in self._log.details_at([position for position in positions if position >= 0]):
            position = loaded.offset
            before = self._step.event(position) or EditedEvent(
                **{name: getattr(loaded, name) for name in EVENT_FIELDS}
            )
            event = self._step.set(position, steps, change(before))
            self.edits.append(Edit(EditKind.REPLACE, self._label(position), event=event))
            event_count += 1
        if event_count < len(positions):
            for position in positions:
                self._load_event(position)  # raises for the first missing event

    def insert(self, after: int, text: str) -> Label:
        """Insert an event, given as JSON, after a position, and return its label.

        Raise `QueryError` if the event is invalid or has no stream.
        """
        label = self._reserve_label(after)
        defaults = replace(_EMPTY_EVENT, time=self._time_at(after), id=self._derive_event_id(label))
        event = event_json.parse_event(text, defaults)
        if event.stream is None:
            raise QueryError('The new event has no stream. Add one, as in {"stream": "order-17"}.')
        self.edits.append(Edit(EditKind.INSERT, label, self._label(after), event=event))
        return label

    def append(self, text: str) -> Label:
        """Insert an event, given as JSON, at the end of the timeline, and return its label."""
        return self.insert(self._last_position(), text)

    def move(self, position: int, after: int) -> Label:
        """Move an event behind another position, and return its new label."""
        event = self._load_event(position)
        if after in (position, position - 1):
            raise QueryError(f"The event at {self._label(position)} is at that position already.")
        self._step.move(position)
        label = self._reserve_label(after)
        self.edits.append(
            Edit(EditKind.MOVE, label, self._label(after), self._label(position), event=event)
        )
        return label

    def reverse(self, position: int, paths_to_negate: Sequence[str] = ()) -> Label:
        """Append a copy of an event with its numbers negated, all or only those at the paths.

        Return the label of the copy. Raise `QueryError` if there is no number at a path.
        """
        self._step.refuse_dropped(position)
        event = self._load_event(position)
        try:
            data = diff.decode_state(event.data)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"The data of {self._label(position)} isn't valid JSON ({summarize_error(error)})."
            ) from error
        if paths_to_negate:
            for path in map(paths.parse_path, paths_to_negate):
                number = paths.get_value_at(data, path)
                if not event_values.is_number(number):
                    raise QueryError(f"There is no number to negate at {paths.format_path(path)}.")
                data = event_values.replace_at_path(data, path, -number)
        else:
            data = event_values.negate_numbers(data)
        label = self._reserve_label(self._last_position())
        reversal = replace(
            event,
            data=diff.encode_value(data),
            id=self._derive_event_id(label),
            time=self._time_at(self._last_position()),
            revision=None,
            causation_id=event.id,
        )
        self.edits.append(
            Edit(EditKind.INSERT, label, self._label(self._last_position()), event=reversal)
        )
        return label

    def find_matching_positions(self, condition: str) -> list[int]:
        """Return the positions of all events that match a condition.

        Raise `QueryError` if none or more than `MAX_EDITED_EVENTS` match.
        """
        positions = list(event_filter.find_offsets_by_condition(self._workspace, condition))
        if not positions:
            raise QueryError(f"No event matches {condition!r}, so there is nothing to edit.")
        if len(positions) > MAX_EDITED_EVENTS:
            raise QueryError(
                f"{len(positions):,} events match {condition!r}, and the limit is {MAX_EDITED_EVENTS:,}."
                " Narrow the condition."
            )
        return positions

    def find_positions_between(self, first: int, last: int) -> list[int]:
        """Return the positions of all events from `first` to `last`, both included.

        Raise `QueryError` if the range is reversed or has more than `MAX_EDITED_EVENTS` events.
        """
        if first > last:
            raise QueryError("The range ends before it starts. Give the earlier position first.")
        positions = list(self._log.find_matching(f"offset >= {max(first, 0)} AND offset <= {last}"))
        if len(positions) > MAX_EDITED_EVENTS:
            raise QueryError(
                f"The range has {len(positions):,} events, and the limit is {MAX_EDITED_EVENTS:,}."
                " Give a shorter range."
            )
        return positions

    def _last_position(self) -> int:
        return self._log.read_extent().event_count - 1

    def _load_event(self, position: int) -> EditedEvent:
        """Return the event at a position with the edits of this step; raise `PositionError` if none."""
        edited = self._step.event(position)
        if edited is not None:
            return edited
        event = self._log.read_event(position) if position >= 0 else None
        if event is None:
            label = "start" if position < 0 else self._label(position)
            raise PositionError(
                f"There is no event to edit at {label} on {self._workspace.timeline}."
            )
        return EditedEvent(**{name: getattr(event, name) for name in EVENT_FIELDS})

    def _time_at(self, position: int) -> datetime | None:
        """Return the time of the last event at or before a position; None if there is none."""
        while position >= 0:
            events = self._log.read_events(
                max(position - _PAGE_EVENTS, 0), min(_PAGE_EVENTS, position) + 1
            )
            if events:
                return events[-1].time
            position -= _PAGE_EVENTS + 1
        return None

    def _label(self, position: int) -> Label:
        return self._workspace.label_at(position)

    def _reserve_label(self, after: int) -> Label:
        offset = self._label(after).offset
        if offset not in self._inserted_counts:
            self._inserted_counts[offset] = find_highest_inserted(self._workspace, offset)
        self._inserted_counts[offset] += 1
        return Label(offset, self._inserted_counts[offset])

    def _derive_event_id(self, label: Label) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"refold:{self.name}:{label}"))


def find_highest_inserted(workspace: Workspace, offset: int) -> int:
    """Return the highest number of an event inserted after an offset of the log, on this timeline or
    its ancestors; 0 if there is none."""
    highest = 0
    for fork in list_fork_values(workspace):
        inserted = [edit.label.inserted for edit in fork.edits if edit.label.offset == offset]
        highest = max([highest, *inserted])
    return highest


def create_fork(
    parent: Workspace,
    name: str,
    new_edits: Sequence[Edit],
    *,
    fork_position: int | None = None,
    note: str = "",
) -> ForkedWorkspace:
    """Return a fork of a timeline with these edits, not saved yet.

    It branches at `fork_position` of the parent, or right before its first edit. Raises
    `WorkspaceError` if the name is invalid or taken, `PositionError` if an edit lies before the fork
    position or at no event, and `QueryError` for an invalid edit.
    """
    fork_store.check_name_is_free(parent, name)
    overlay = parent.position_map
    # Only edits of events must lie behind the fork; answers and code may change at any position.
    of_events = _first_edited_position(
        overlay, [one for one in new_edits if one.kind.is_about_event]
    )
    if fork_position is None:
        first = _first_edited_position(overlay, new_edits)
        fork_position = overlay.position_count - 1 if first is None else first - 1
    elif of_events is not None and of_events <= fork_position:
        raise PositionError(
            f"The first edit, at {parent.label_at(of_events)}, lies before the fork at"
            f" {parent.label_at(fork_position)}. Fork at an earlier position."
        )
    timeline = Fork(
        name,
        parent.timeline,
        parent.label_at(fork_position),
        note,
        edits.append_step([], new_edits),
    )
    return ForkedWorkspace(parent, timeline)


def save_fork(forked_workspace: ForkedWorkspace) -> ForkedWorkspace:
    """Save a fork; folding a fork saves it too.

    Raise `StaleError` if the file holds another version of it, and `WorkspaceError` if its name is
    taken or other forks are based on it.
    """
    with forked_workspace.main_workspace.writing() as connection:
        fork_store.save_fork(
            connection, list_fork_values(forked_workspace), forked_workspace.before
        )
    return _as_kept(forked_workspace)


def create(fork: ForkedWorkspace) -> ForkedWorkspace:
    """Save a new fork; raise the errors of `save_fork`, even if an equal fork has the name."""
    with fork.main_workspace.writing() as connection:
        fork_store.create(connection, list_fork_values(fork))
    return _as_kept(fork)


def _as_kept(fork: ForkedWorkspace) -> ForkedWorkspace:
    saved_fork = forked_workspace.open_fork(fork.main_workspace, fork.timeline)
    fork.main_workspace.release()  # after every write, because other processes may be waiting
    return saved_fork


Made = TypeVar("Made", ForkedWorkspace, ForkedWorkspace | None)


def change(workspace: Workspace, attempt: Callable[[Workspace], Made]) -> Made:
    """Save what `attempt` makes of a timeline: a new fork of it, or the fork with other edits.

    `attempt` receives the timeline from the file, and is called again whenever another process
    changes the timeline before the result is saved. Therefore no edit is lost, and no erased value
    comes back. Return None if `attempt` returns None.
    """
    while True:
        generation = workspace.main_workspace.generation
        made = attempt(forked_workspace.open_timeline(workspace.main_workspace, workspace.timeline))
        if made is None:
            return made
        try:
            with made.main_workspace.writing(generation=generation) as connection:
                if made.before is None:
                    fork_store.create(connection, list_fork_values(made))
                else:
                    fork_store.save_fork(connection, list_fork_values(made), made.before)
        except StaleError:
            continue
        return _as_kept(made)


def append_edits(forked_workspace: ForkedWorkspace, new_edits: Sequence[Edit]) -> ForkedWorkspace:
    """Return a copy of a fork with these edits as one step that can be undone; nothing is saved.

    Raises `WorkspaceError` if other forks are based on it.
    """
    return _with_edits(forked_workspace, edits.append_step(forked_workspace.fork.edits, new_edits))


def undo_last_step(forked_workspace: ForkedWorkspace) -> ForkedWorkspace | None:
    """Return a fork without its last step, not saved yet; None if there is no step."""
    new_edits = edits.undo_last_step(forked_workspace.fork.edits)
    return None if new_edits is None else _with_edits(forked_workspace, new_edits)


def redo_last_step(forked_workspace: ForkedWorkspace) -> ForkedWorkspace | None:
    """Return a fork with its last undone step, not saved yet; None if no step was undone."""
    new_edits = edits.redo_next_step(forked_workspace.fork.edits)
    return None if new_edits is None else _with_edits(forked_workspace, new_edits)


def _with_edits(forked_workspace: ForkedWorkspace, new_edits: Sequence[Edit]) -> ForkedWorkspace:
    fork, overlay = forked_workspace.fork, forked_workspace.parent.position_map
    active = [one for one in new_edits if not one.undone]
    first = _first_edited_position(overlay, active)
    fork_label = fork.at
    if first is not None and first - 1 < overlay.position_of(fork_label):
        fork_label = overlay.label_at(first - 1)
    changed = replace(fork, edits=new_edits, at=fork_label)
    fork_store.check_is_editable(forked_workspace.main_workspace, fork.name)
    return ForkedWorkspace(forked_workspace.parent, changed, forked_workspace.before or fork)


def _first_edited_position(overlay: PositionMap, edits_in: Iterable[Edit]) -> int | None:
    """Return the first position of the parent that the edits touch; None without edits."""
    own = {one.label for one in edits_in if one.kind in (EditKind.INSERT, EditKind.MOVE)}
    positions = []
    for one in edits_in:
        if one.kind is EditKind.ANSWERS:
            override = diff.decode_state(one.value)
            positions.append(min(max(int(override.get("from", 0)), 0), overlay.position_count))
        elif one.kind is EditKind.BASE:
            positions.append(0)
        for label, behind in ((one.after, 1), (one.moved, 0), (one.label, 0)):
            if label is not None and label not in own and one.kind.is_about_event:
                positions.append(overlay.position_of(label) + behind)
    return min(positions, default=None)
