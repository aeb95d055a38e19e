"""A fork's edits laid over its parent: which events there are, in which order, and their places."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import Mark, Overlay
from storage.timelines.edits import Edit, Event

if TYPE_CHECKING:
    from storage.timelines.store import Timeline


@dataclass(frozen=True)
class Own:
    """An event that is the fork's own."""

    place: int
    label: Label
    kind: EditKind
    event: Event


class Forked(Overlay):
    """What is where on a fork."""

    def __init__(self, timeline: "Timeline", parent: Overlay) -> None:
        self.parent = parent
        self.timeline = timeline
        laid = _Laid(timeline.active, parent)
        inserted = laid.in_order()
        self.anchors = [anchor for anchor, _ in inserted]
        """The parent's places behind which something was inserted; one for each insert, ascending."""
        self._inserts = [anchor + 1 + n for n, anchor in enumerate(self.anchors)]
        super().__init__(parent.events + len(inserted))
        self._by_label = {
            edit.label: place for place, (_, edit) in zip(self._inserts, inserted, strict=True)
        }
        self._labels = {place: label for label, place in self._by_label.items()}
        self.hidden = sorted(laid.hidden)
        """The parent's places of events that are dropped, moved away or replaced."""
        own = [
            Own(place, edit.label, edit.kind, edit.event)
            for place, (_, edit) in zip(self._inserts, inserted, strict=True)
            if edit.event is not None and edit.label not in laid.vanished
        ]
        own += [
            Own(self.from_parent(place), edit.label, EditKind.REPLACE, edit.event)
            for place, edit in laid.replaced.items()
            if edit.event is not None
        ]
        self.own = sorted(own, key=lambda one: one.place)
        self._marks = self._marked(laid, inserted)
        self._marked_places = [mark.place for mark in self._marks]

    @property
    def edited(self) -> list[int]:
        """The places at which something is otherwise than on the parent, ascending."""
        return sorted({mark.place for mark in self._marks})

    def from_parent(self, place: int) -> int:
        """Where an event of the parent's is here."""
        return place + bisect_left(self.anchors, place)

    def to_parent(self, place: int) -> int | None:
        """Where an event is on the parent; None where it was inserted here."""
        if place in self._labels:
            return None
        return place - bisect_left(self._inserts, place)

    def before(self, place: int) -> int:
        """The parent's position that a position here stands at, or after."""
        return place - bisect_right(self._inserts, place)

    def parents_from(self, place: int) -> int:
        """The first of the parent's places that don't come before a place here."""
        return self.before(place - 1) + 1

    def place(self, label: Label) -> int:
        found = self._by_label.get(label)
        return self.from_parent(self.parent.place(label)) if found is None else found

    def label(self, place: int) -> Label:
        found = self._labels.get(place)
        if found is not None:
            return found
        return self.parent.label(place - bisect_left(self._inserts, place))

    def marks(self, first: int, last: int) -> list[Mark]:
        begin = bisect_left(self._marked_places, first)
        return self._marks[begin : bisect_right(self._marked_places, last)]

    def segments(self) -> list[tuple[int, int, int]]:
        """The parent's places in stretches that move as one: first, last, and by how much."""
        found = []
        first = -1
        for anchor in [*sorted(set(self.anchors)), self.parent.events]:
            if anchor >= first:
                found.append((max(first, 0), anchor, bisect_left(self.anchors, max(first, 0))))
            first = anchor + 1
        return [one for one in found if one[0] <= one[1]]

    def _marked(self, laid: "_Laid", inserted: Sequence[tuple[int, Edit]]) -> list[Mark]:
        marks = [
            Mark(place, EditKind.DROP, None, leaves_a_gap=True)
            if edit.label in laid.vanished
            else Mark(place, edit.kind, edit.moved)
            for place, (_, edit) in zip(self._inserts, inserted, strict=True)
        ]
        for place in self.hidden:
            gone = laid.hidden[place]
            gap = gone.kind is not EditKind.REPLACE
            marks.append(Mark(self.from_parent(place), gone.kind, _gone_to(gone), leaves_a_gap=gap))
        return sorted(marks, key=lambda mark: mark.place)


def _gone_to(edit: Edit) -> Label | None:
    return edit.label if edit.kind is EditKind.MOVE else None


class _Laid:
    """Edits in their order; a later one of the same event takes an earlier one's place."""

    def __init__(self, edits: Iterable[Edit], parent: Overlay) -> None:
        self._parent = parent
        self.hidden: dict[int, Edit] = {}
        """What hides an event of the parent's, by its place there."""
        self.replaced: dict[int, Edit] = {}
        self.vanished: set[Label] = set()
        """Inserted here, and dropped or moved away again."""
        self._inserted: dict[Label, Edit] = {}
        self._groups: dict[int, list[Label]] = {}
        """What is inserted after a place of the parent's, in order."""
        self._group_of: dict[Label, int] = {}
        for edit in edits:
            if edit.kind in (EditKind.INSERT, EditKind.MOVE):
                self._insert(edit)
            if edit.kind is EditKind.MOVE and edit.moved is not None:
                self._hide(edit.moved, edit)
            elif edit.kind is EditKind.DROP:
                self._hide(edit.label, edit)
            elif edit.kind is EditKind.REPLACE:
                self._replace(edit)

    def in_order(self) -> list[tuple[int, Edit]]:
        """All that were inserted, with the parent's place behind which they are."""
        return [
            (anchor, self._inserted[label])
            for anchor in sorted(self._groups)
            for label in self._groups[anchor]
        ]

    def _insert(self, edit: Edit) -> None:
        after = edit.after or Label(-1)
        if after in self._group_of:
            anchor = self._group_of[after]
            group = self._groups[anchor]
            group.insert(group.index(after) + 1, edit.label)
        else:
            anchor = self._parent.place(after)
            if not after.inserted:
                anchor = self._behind(anchor)
            self._groups.setdefault(anchor, []).append(edit.label)
        self._group_of[edit.label] = anchor
        self._inserted[edit.label] = edit

    def _behind(self, place: int) -> int:
        """The last of those that the parent has inserted after an event of the log."""
        while place + 1 < self._parent.events and self._parent.label(place + 1).inserted:
            place += 1
        return place

    def _hide(self, label: Label, edit: Edit) -> None:
        if label in self._inserted:
            self.vanished.add(label)
            return
        place = self._parent.place(label)
        self.hidden[place] = edit
        self.replaced.pop(place, None)

    def _replace(self, edit: Edit) -> None:
        there = self._inserted.get(edit.label)
        if there is not None:
            self._inserted[edit.label] = Edit(
                there.kind, there.label, there.after, there.moved, edit.event
            )
            self.vanished.discard(edit.label)
            return
        place = self._parent.place(edit.label)
        self.hidden[place] = edit
        self.replaced[place] = edit
