"""Applies a fork's edits to its parent: which events the fork has, in which order, at which positions."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import EditMark, PositionMap
from storage.timelines.edits import Edit, EditedEvent

if TYPE_CHECKING:
    from storage.timelines.fork_store import Fork


@dataclass(frozen=True)
class ForkEvent:
    """An event that only the fork has: inserted, moved there, or a replacement."""

    position: int
    label: Label
    kind: EditKind
    event: EditedEvent


class ForkOverlay(PositionMap):
    """Translates between labels, positions on a fork, and positions on its parent."""

    def __init__(self, timeline: "Fork", parent: PositionMap) -> None:
        self.parent = parent
        self.timeline = timeline
        applied = _AppliedEdits(timeline.active_edits, parent)
        inserted = applied.inserted_in_order()
        self.insert_anchors = [anchor for anchor, _ in inserted]
        """The parent's positions after which an event was inserted; one for each insert, ascending."""
        self._insert_positions = [anchor + 1 + n for n, anchor in enumerate(self.insert_anchors)]
        super().__init__(parent.position_count + len(inserted))
        self._position_by_label = {
            edit.label: position
            for position, (_, edit) in zip(self._insert_positions, inserted, strict=True)
        }
        self._label_by_position = {
            position: label for label, position in self._position_by_label.items()
        }
        self.hidden_parent_positions = sorted(applied.hidden_by_position)
        """The parent's positions of events that are dropped, moved away or replaced."""
        own_events = [
            ForkEvent(position, edit.label, edit.kind, edit.event)
            for position, (_, edit) in zip(self._insert_positions, inserted, strict=True)
            if edit.event is not None and edit.label not in applied.vanished_labels
        ]
        own_events += [
            ForkEvent(self.from_parent(position), edit.label, EditKind.REPLACE, edit.event)
            for position, edit in applied.replaced_by_position.items()
            if edit.event is not None
        ]
        self.own_events = sorted(own_events, key=lambda one: one.position)
        self._marks = self._collect_marks(applied, inserted)
        self._marked_positions = [mark.position for mark in self._marks]

    @property
    def edited_positions(self) -> list[int]:
        """The positions with an edit, ascending."""
        return sorted({mark.position for mark in self._marks})

    def from_parent(self, parent_position: int) -> int:
        """Return the position on the fork of an event of the parent."""
        return parent_position + bisect_left(self.insert_anchors, parent_position)

    def to_parent(self, position: int) -> int | None:
        """Return the parent's position of an event of the fork, or None if the fork inserted it."""
        if position in self._label_by_position:
            return None
        return position - bisect_left(self._insert_positions, position)

    def parent_position_before(self, position: int) -> int:
        """Return the parent's position of an event; for an inserted one, that of the event it follows."""
        return position - bisect_right(self._insert_positions, position)

    def first_parent_position_from(self, position: int) -> int:
        """Return the first position of the parent that isn't before a position of the fork."""
        return self.parent_position_before(position - 1) + 1

    def position_of(self, label: Label) -> int:
        found = self._position_by_label.get(label)
        return self.from_parent(self.parent.position_of(label)) if found is None else found

    def label_at(self, position: int) -> Label:
        found = self._label_by_position.get(position)
        if found is not None:
            return found
        return self.parent.label_at(position - bisect_left(self._insert_positions, position))

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:
        begin = bisect_left(self._marked_positions, first_position)
        return self._marks[begin : bisect_right(self._marked_positions, last_position)]

    def segments(self) -> list[tuple[int, int, int]]:
        """Return the stretches of the parent that shift by the same amount: (first, last, shift)."""
        found = []
        first = -1
        for anchor in [*sorted(set(self.insert_anchors)), self.parent.position_count]:
            if anchor >= first:
                found.append(
                    (max(first, 0), anchor, bisect_left(self.insert_anchors, max(first, 0)))
                )
            first = anchor + 1
        return [one for one in found if one[0] <= one[1]]

    def _collect_marks(
        self, applied: "_AppliedEdits", inserted: Sequence[tuple[int, Edit]]
    ) -> list[EditMark]:
        marks = [
            EditMark(position, EditKind.DROP, None, leaves_gap=True)
            if edit.label in applied.vanished_labels
            else EditMark(position, edit.kind, edit.moved)
            for position, (_, edit) in zip(self._insert_positions, inserted, strict=True)
        ]
        for position in self.hidden_parent_positions:
            gone = applied.hidden_by_position[position]
            gap = gone.kind is not EditKind.REPLACE
            marks.append(
                EditMark(self.from_parent(position), gone.kind, _moved_to(gone), leaves_gap=gap)
            )
        return sorted(marks, key=lambda mark: mark.position)


def _moved_to(edit: Edit) -> Label | None:
    return edit.label if edit.kind is EditKind.MOVE else None


class _AppliedEdits:
    """The result of applying edits in order; a later edit of an event replaces an earlier one."""

    def __init__(self, edits: Iterable[Edit], parent: PositionMap) -> None:
        self._parent = parent
        self.hidden_by_position: dict[int, Edit] = {}
        """By the parent's position: the edit that hides the event there."""
        self.replaced_by_position: dict[int, Edit] = {}
        self.vanished_labels: set[Label] = set()
        """Labels of events that were inserted on this fork and later dropped or moved away."""
        self._inserted: dict[Label, Edit] = {}
        self._labels_by_anchor: dict[int, list[Label]] = {}
        """By the parent's position: the labels inserted after it, in order."""
        self._anchor_by_label: dict[Label, int] = {}
        for edit in edits:
            if edit.kind in (EditKind.INSERT, EditKind.MOVE):
                self._insert(edit)
            if edit.kind is EditKind.MOVE and edit.moved is not None:
                self._hide(edit.moved, edit)
            elif edit.kind is EditKind.DROP:
                self._hide(edit.label, edit)
            elif edit.kind is EditKind.REPLACE:
                self._replace(edit)

    def inserted_in_order(self) -> list[tuple[int, Edit]]:
        """Return (parent's position, edit) for all inserted events, in order."""
        return [
            (anchor, self._inserted[label])
            for anchor in sorted(self._labels_by_anchor)
            for label in self._labels_by_anchor[anchor]
        ]

    def _insert(self, edit: Edit) -> None:
        after = edit.after or Label(-1)
        if after in self._anchor_by_label:
            anchor = self._anchor_by_label[after]
            group = self._labels_by_anchor[anchor]
            group.insert(group.index(after) + 1, edit.label)
        else:
            anchor = self._parent.position_of(after)
            if not after.inserted:
                anchor = self._last_inserted_after(anchor)
            self._labels_by_anchor.setdefault(anchor, []).append(edit.label)
        self._anchor_by_label[edit.label] = anchor
        self._inserted[edit.label] = edit

    def _last_inserted_after(self, position: int) -> int:
        """Return the position of the last event that the parent inserted after this one."""
        while (
            position + 1 < self._parent.position_count
            and self._parent.label_at(position + 1).inserted
        ):
            position += 1
        return position

    def _hide(self, label: Label, edit: Edit) -> None:
        if label in self._inserted:
            self.vanished_labels.add(label)
            return
        position = self._parent.position_of(label)
        self.hidden_by_position[position] = edit
        self.replaced_by_position.pop(position, None)

    def _replace(self, edit: Edit) -> None:
        inserted = self._inserted.get(edit.label)
        if inserted is not None:
            self._inserted[edit.label] = Edit(
                inserted.kind, inserted.label, inserted.after, inserted.moved, edit.event
            )
            self.vanished_labels.discard(edit.label)
            return
        position = self._parent.position_of(edit.label)
        self.hidden_by_position[position] = edit
        self.replaced_by_position[position] = edit
