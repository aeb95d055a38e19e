"""A large document in parts: finds what an event changed without comparing the whole document.

Objects inside a large document are replaced by `TrackedDict`s. They note which members were read, set
or removed, because a handler can have changed no others. After each event only the noted members are
encoded and compared with their JSON before.

`part_tree` splits objects into parts; a split object stays split. `part_changes` collects what an event
changed if it split or merged objects.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

from ..environment import memory_limit
from ..protocol import encoding
from .part_changes import PartChanges
from .part_tree import LARGE_PART_BYTES, SPLIT_OBJECT, PartTree, must_split
from .result import ChangedParts, PartColumns
from .tracked_dict import (
    ChangeNotes,
    Member,
    NotSplittableError,
    PartPlace,
    TrackedDict,
    find_untracked,
    get_untracked,
    has_shared_values,
    iterate_tracked,
    last_added_names,
    member_path,
    raise_for_unsplittable_names,
    set_untracked,
    to_plain_value,
)

StoredParts = Tuple[Iterable[Tuple[str, PartPlace, bytes]], int]
"""Stored parts (path, place, JSON) in the order of their places, and the next member's number."""


_ABSENT = object()


class DocumentParts:
    """One large document, split into parts."""

    def __init__(
        self, encode: Callable[[Any], bytes], decode: Callable[[Any], Any], *, exact_encoding: bool
    ) -> None:
        self._encode, self._decode = encode, decode
        self._exact_encoding = exact_encoding
        self._notes = ChangeNotes(keeps_originals=exact_encoding)
        self._tree = PartTree(encode, self._notes)
        self.root = self._tree.root
        self._settled_number = self._tree.next_number

    def split_state(self, state: Any, part_columns: PartColumns, change: int) -> None:
        """Split a state and add its parts to the columns, as those of the change at index `change`.

        Raises `NotSplittableError` if the state can't be split.
        """
        if type(state) is not dict or has_shared_values(state):
            raise NotSplittableError
        rows: ChangedParts = {"": ((), SPLIT_OBJECT)}
        self._tree.fill_object(self.root, state, rows)
        self._settled_number = self._tree.next_number
        part_columns.add_parts(change, rows)

    def restore(self, rows: Iterable[Tuple[str, PartPlace, bytes]], next_number: int) -> None:
        """Restore the document from its stored parts, in the order of their places.

        `next_number` is the number of the next member that is added.
        """
        objects = {"": self.root}
        for path, place, text in rows:
            if not path:
                continue
            parent_path, _, step = path.rpartition("/")
            parent = objects[parent_path]
            name = step.replace("~1", "/").replace("~0", "~")
            if text == SPLIT_OBJECT:
                value = objects[path] = self._tree.create_object(parent, name, path, place)
            else:
                value = self._decode(text)
            set_untracked(parent, name, value)
            content = value if text == SPLIT_OBJECT else text
            parent.known[name] = Member(place[-1], content, path)
        self._tree.next_number = self._settled_number = next_number

    @property
    def changed(self) -> Iterator[Any]:
        """Yield the values that the last event may have changed, until `settle` or `take_back`."""
        for tracked in self._notes.noted_dicts:
            if not tracked.in_document:
                continue  # its values may have moved into another object
            for name in tracked.touched:
                value = find_untracked(tracked, name)
                if value.__class__ is not TrackedDict:
                    yield value

    def query_untracked(self, query: Callable[[Any], Any]) -> Any:
        """Return what `query` returns for the state; it must not change it, and nothing is noted."""
        self._notes.is_recording = False
        try:
            return query(self.root)
        finally:
            self._notes.is_recording = True

    def settle(self, state: Any, part_columns: PartColumns, change: int) -> bool:
        """Add the parts that an event changed to the columns; return whether it changed any.

        `state` is what the handler returned; None means the same state. Raises what encoding raises,
        or `NotSplittableError`; then nothing is settled.
        """
        if self._exact_encoding and has_shared_values(list(self.changed)):
            raise NotSplittableError
        is_same_object = state is None or state is self.root
        count = len(part_columns.paths)
        if not (is_same_object and self._settle_simple_changes(part_columns, change)):
            changes = PartChanges(self._tree)
            if not is_same_object:
                if type(state) is not dict:
                    raise NotSplittableError
                changes.replace_object(self.root, state)
            changes.collect_noted(self._notes.noted_dicts)
            changes.apply_changes()
            part_columns.add_parts(change, changes.rows)
            self._clear_notes()
        self._settled_number = self._tree.next_number
        return len(part_columns.paths) > count

    def _settle_simple_changes(self, part_columns: PartColumns, change: int) -> bool:
        """Settle the common case, in which no object is split or merged; return False in other cases."""
        encode = self._encode
        changed: List[Tuple[Member, bytes]] = []
        structural_changes: List[Tuple[TrackedDict, List[Any], Dict[Any, bytes]]] = []
        for tracked in self._notes.noted_dicts:
            known, removed = tracked.known, tracked.removed
            removed_names: List[Any] = []
            new_texts: Dict[Any, bytes] = {}
            for name in tracked.touched:
                member = known.get(name)
                value = find_untracked(tracked, name, _ABSENT)
                if value.__class__ is TrackedDict or (
                    member and member.content.__class__ is TrackedDict
                ):
                    return False
                if value is _ABSENT:
                    if member is not None:
                        removed_names.append(name)
                    continue
                if member is not None and len(member.content) > LARGE_PART_BYTES:
                    memory_limit.require_memory(4 * len(member.content))
                text = encode(value)
                if value.__class__ is dict and must_split(text):
                    return False
                if member is None or name in removed:
                    new_texts[name] = text
                elif text != member.content:
                    changed.append((member, text))
            if removed_names or new_texts:
                raise_for_unsplittable_names(tracked, new_texts)
                structural_changes.append((tracked, removed_names, new_texts))
        for member, text in changed:
            member.content = text
            part_columns.change_rows.append(change)
            part_columns.paths.append(member.path)
            part_columns.states.append(text)
        for tracked, removed_names, new_texts in structural_changes:
            known = tracked.known
            rows: ChangedParts = {known.pop(name).path: (None, None) for name in removed_names}
            for name in last_added_names(tracked, len(new_texts)):
                member = known[name] = Member(
                    self._tree.take_number(), new_texts[name], member_path(tracked, name)
                )
                rows[member.path] = (*tracked.place, member.number), new_texts[name]
            part_columns.add_parts(change, rows)
        self._clear_notes()
        return True

    def take_back(self) -> None:
        """Restore the document as it was before the event."""
        for tracked in self._notes.noted_dicts:
            for name, original in tracked.touched.items():
                previous = tracked.known.get(name)
                if previous is None:
                    dict.pop(tracked, name, None)
                elif previous.content.__class__ is TrackedDict:
                    set_untracked(tracked, name, previous.content)
                else:
                    set_untracked(
                        tracked,
                        name,
                        original if self._exact_encoding else self._decode(previous.content),
                    )
            if tracked.removed:
                names = sorted(tracked.known, key=lambda name: tracked.known[name].number)
                members = {name: get_untracked(tracked, name) for name in names}
                dict.clear(tracked)
                dict.update(tracked, members)
        self._tree.next_number = self._settled_number
        self._clear_notes()

    def changes_are_plain(self, state: Any) -> bool:
        """Return whether the values that the last event set round-trip through JSON.

        `state` is what its handler returned.
        """
        values = list(self.changed)  # checked together, because two members may share a value
        if state.__class__ is dict:
            seen_ids = set(map(encoding.object_identity, values))
            values += [
                value
                for value in dict.values(state)
                if encoding.object_identity(value) not in seen_ids
            ]
        round_trips: bool = encoding.round_trips_json(
            [v for v in values if v.__class__ is not TrackedDict]
        )
        return round_trips

    def to_plain_state(self, state: Any) -> Any:
        """Return the state that a handler returned (None: the same one) as plain values."""
        return to_plain_value(self.root if state is None else state)

    def report_all_removed(self, part_columns: PartColumns, change: int) -> None:
        """Report all parts as removed, because the document was deleted or is kept whole from now on."""
        rows: ChangedParts = {"": (None, None)}
        self._tree.report_removed(self.root, rows)
        part_columns.add_parts(change, rows)

    def matches_report(self) -> bool:
        """Return whether every part still has the JSON that was reported for it.

        It doesn't if a handler kept a reference to a value and changed it at a later event.
        """
        return all(map(self._matches_report, iterate_tracked(self.root)))

    def round_trips_json(self) -> bool:
        """Return whether the document is the same after a trip through JSON."""
        members = [m for tracked in iterate_tracked(self.root) for m in dict.items(tracked)]
        if not all(type(name) is str for name, _ in members):
            return False
        # Checked together, because two members may share a value.
        all_round_trip: bool = encoding.round_trips_json(
            [v for _, v in members if v.__class__ is not TrackedDict]
        )
        return all_round_trip

    def _matches_report(self, tracked: TrackedDict) -> bool:
        return dict.keys(tracked) == tracked.known.keys() and all(
            get_untracked(tracked, name) is member.content
            if member.content.__class__ is TrackedDict
            else self._encode(get_untracked(tracked, name)) == member.content
            for name, member in tracked.known.items()
        )

    def _clear_notes(self) -> None:
        for tracked in self._notes.noted_dicts:
            tracked.touched.clear()
            tracked.removed.clear()
        self._notes.noted_dicts.clear()
