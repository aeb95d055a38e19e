"""The edits of two forks joined into those of a third: one list over their common ancestor.

Events that both forks inserted at one position are ordered by time, or one fork's before the other's.
If both edited the same event, the edit of the preferred fork is used, which is an event conflict.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from replay.compare.alignment import find_common_ancestor
from replay.forks import edit_builder
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import WorkspaceError
from storage.timelines import edits
from storage.timelines.edits import Edit, EditedEvent
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, list_lineage
from storage.timelines.overlay import ForkOverlay
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class EventConflict:
    """An event that both forks edited differently."""

    label: Label
    a: EditKind
    b: EditKind
    preferred: str
    """The fork whose edit is used: `a` or `b`."""


def merge_edits(
    a: Workspace, b: Workspace, name: str, *, order: str, prefer: str
) -> tuple[ForkedWorkspace, list[EventConflict]]:
    """Return a fork of the common ancestor with the edits of both, not saved yet, and the conflicts.

    If both edited one event, the edit of the fork `prefer` is used. Raises `WorkspaceError` if one of
    the two is based on the other.
    """
    ancestor = find_common_ancestor(a, b)
    if ancestor in (a.timeline, b.timeline):
        forked, whole = (b, a) if ancestor == a.timeline else (a, b)
        raise WorkspaceError(
            f"{forked.timeline} is based on {whole.timeline}, so it has all of its edits already."
            " Nothing needs merging."
        )
    parent = _find_ancestor(a, ancestor)
    one, other = _FlatEdits(a, parent), _FlatEdits(b, parent)
    conflicts = _find_event_conflicts(one, other, prefer)
    lost = {conflict.label for conflict in conflicts}
    if prefer == "a":
        merged_edits = _MergedEdits(one, other, parent, lost)
    else:
        merged_edits = _MergedEdits(other, one, parent, lost)
        order = {"a": "b", "b": "a"}.get(order, order)
    note = f"merge of {a.timeline} and {b.timeline}"
    return edit_builder.create_fork(
        parent, name, merged_edits.build_edits(order), note=note
    ), conflicts


def _find_ancestor(workspace: Workspace, name: str) -> Workspace:
    timelines = [workspace.main_workspace, *workspace.lineage]
    return next(one for one in timelines if one.timeline == name)


@dataclass(frozen=True)
class _PlacedEvent:
    """An event that a fork inserted, or moved from another position of the ancestor."""

    event: EditedEvent
    moved_from: Label | None
    """The label of a moved event on the ancestor; None for an inserted event."""


class _FlatEdits:
    """All edits of a timeline since an ancestor, flattened into edits of the ancestor."""

    def __init__(self, workspace: Workspace, ancestor: Workspace) -> None:
        own_forks = list_lineage(workspace)[len(ancestor.lineage) :]
        edits_found = [edit for forked in own_forks for edit in forked.fork.active_edits]
        self.timeline_edits = [edit for edit in edits_found if not edit.kind.is_about_event]
        events = [edit for edit in edits_found if edit.kind.is_about_event]
        timeline = Fork("flat", ancestor.timeline, Label(-1), "", edits.append_step([], events))
        overlay = ForkOverlay(timeline, ancestor.position_map)
        origins = _moved_from(events)
        self.placed_events: dict[int, list[_PlacedEvent]] = {}
        """The events placed behind a position of the ancestor, in order."""
        moved: dict[Label, tuple[int, EditedEvent]] = {}
        for one in overlay.own_events:
            if one.kind is not EditKind.REPLACE:
                anchor = overlay.parent_position_before(one.position)
                origin = origins.get(one.label)
                self.placed_events.setdefault(anchor, []).append(_PlacedEvent(one.event, origin))
                if origin is not None:
                    moved[origin] = (anchor, one.event)
        self.anchors = {position: ancestor.label_at(position) for position in self.placed_events}
        replaced = {
            one.label: one.event for one in overlay.own_events if one.kind is EditKind.REPLACE
        }
        self.edits_of_ancestor_events: dict[Label, Edit] = {}
        """The edit of each edited event of the ancestor, by its label on the ancestor."""
        for label in map(ancestor.label_at, overlay.hidden_parent_positions):
            if label in moved:
                anchor, event = moved[label]
                edit = Edit(EditKind.MOVE, label, ancestor.label_at(anchor), event=event)
            elif label in replaced:
                edit = Edit(EditKind.REPLACE, label, event=replaced[label])
            else:
                edit = Edit(EditKind.DROP, label)
            self.edits_of_ancestor_events[label] = edit


def _moved_from(events: Sequence[Edit]) -> dict[Label, Label]:
    """Return the original label of each moved event, by its label after any number of moves."""
    found: dict[Label, Label] = {}
    own = {edit.label for edit in events if edit.kind is EditKind.INSERT}
    for edit in events:
        if edit.moved is not None and edit.moved not in own:
            found[edit.label] = found.get(edit.moved, edit.moved)
        elif edit.moved is not None:
            own.add(edit.label)
    return found


def _find_event_conflicts(
    edits_a: _FlatEdits, edits_b: _FlatEdits, prefer: str
) -> list[EventConflict]:
    return [
        EventConflict(label, edit.kind, edits_b.edits_of_ancestor_events[label].kind, prefer)
        for label, edit in edits_a.edits_of_ancestor_events.items()
        if label in edits_b.edits_of_ancestor_events
        and edit != edits_b.edits_of_ancestor_events[label]
    ]


class _MergedEdits:
    """The edits of a merged fork."""

    def __init__(
        self,
        preferred: _FlatEdits,
        second: _FlatEdits,
        parent: Workspace,
        overruled_labels: Set[Label],
    ) -> None:
        """`overruled_labels` are the events for which only the preferred fork's edits count."""
        self._preferred = preferred
        self._second = second
        self._parent = parent
        self._overruled_labels = overruled_labels

    def build_edits(self, order: str) -> list[Edit]:
        hidden = self._second.edits_of_ancestor_events | self._preferred.edits_of_ancestor_events
        merged = [*self._preferred.timeline_edits, *self._second.timeline_edits]
        # A move also hides its event at the old position, so it needs no edit of its own here.
        merged += [edit for edit in hidden.values() if edit.kind is not EditKind.MOVE]
        numbers: dict[int, int] = {}
        anchors = self._preferred.anchors | self._second.anchors
        for position in sorted(anchors):
            after = anchors[position]
            if after.offset not in numbers:
                numbers[after.offset] = edit_builder.find_highest_inserted(
                    self._parent, after.offset
                )
            for placed in self._order_placed_events(position, order):
                numbers[after.offset] += 1
                label = Label(after.offset, numbers[after.offset])
                kind = EditKind.INSERT if placed.moved_from is None else EditKind.MOVE
                merged.append(Edit(kind, label, after, placed.moved_from, placed.event))
                after = label
        return merged

    def _order_placed_events(self, position: int, order: str) -> list[_PlacedEvent]:
        preferred = self._preferred.placed_events.get(position, [])
        second_events = [
            placed
            for placed in self._second.placed_events.get(position, ())
            if placed.moved_from not in self._overruled_labels
        ]
        first, second = (second_events, preferred) if order == "b" else (preferred, second_events)
        # An event that both forks placed here appears once.
        ordered = [*first, *(placed for placed in second if placed not in first)]
        if order == "time":
            ordered.sort(key=lambda placed: placed.event.time or datetime.min.replace(tzinfo=UTC))
        return ordered
