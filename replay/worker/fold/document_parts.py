"""A large document in parts: finds what an event changed without comparing the whole document.

Objects inside a large document are replaced by `TrackedDict`s. They note which members were read, set
or removed, because a handler can have changed no others. After each event only the noted members are
encoded and compared with their JSON before.

An object whose JSON exceeds `MAX_OBJECT_PART_BYTES` is split into its members; every other member is
one part. A split object stays split. The text `{}` stands for a split object, so an empty object
counts as split too.

A part has a path (a JSON pointer) and a place: one number for each step of the path. Numbers grow with
every member that is added, so parts sorted by place give the document in the order of its members.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ..environment import memory_limit
from ..protocol import encoding
from .result import ChangedParts, PartColumns
from .tracked_dict import (
    DICT_TYPES,
    ChangeNotes,
    Member,
    NotSplittableError,
    PartContent,
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
    to_plain_member,
    to_plain_value,
)

MAX_OBJECT_PART_BYTES = 1 << 10
"""An object with at most this many bytes of JSON is one part."""

_LARGE_PART_BYTES = 1 << 20
"""Check for free memory before encoding a part whose last JSON had more bytes than this."""
SPLIT_OBJECT = b"{}"
"""Text that is stored for a split object."""

StoredParts = Tuple[Iterable[Tuple[str, PartPlace, bytes]], int]
"""Stored parts (path, place, JSON) in the order of their places, and the next member's number."""


_ABSENT = object()


class DocumentParts:
    """One large document, split into parts."""

    def __init__(
        self, encode: Callable[[Any], bytes], decode: Callable[[Any], Any], *, exact_encoding: bool
    ) -> None:
        self.encode = encode
        self._decode = decode
        self._exact_encoding = exact_encoding
        self._notes = ChangeNotes(keeps_originals=exact_encoding)
        self._next_number = self._settled_number = 1
        self.root = self.create_object(None, None, "", ())

    def split_state(self, state: Any, part_columns: PartColumns, change: int) -> None:
        """Split a state and add its parts to the columns, as those of the change at index `change`.

        Raises `NotSplittableError` if the state can't be split.
        """
        if type(state) is not dict or has_shared_values(state):
            raise NotSplittableError
        rows: ChangedParts = {"": ((), SPLIT_OBJECT)}
        self.fill(self.root, state, rows)
        self._settled_number = self._next_number
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
                value = objects[path] = self.create_object(parent, name, path, place)
            else:
                value = self._decode(text)
            set_untracked(parent, name, value)
            content = value if text == SPLIT_OBJECT else text
            parent.known[name] = Member(place[-1], content, path)
        self._next_number = self._settled_number = next_number

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
            settling = _Settlement(self)
            if not is_same_object:
                if type(state) is not dict:
                    raise NotSplittableError
                settling.replace_object(self.root, state)
            settling.settle_touched(self._notes.noted_dicts)
            settling.apply_changes()
            part_columns.add_parts(change, settling.rows)
            self._clear_notes()
        self._settled_number = self._next_number
        return len(part_columns.paths) > count

    def _settle_simple_changes(self, part_columns: PartColumns, change: int) -> bool:
        """Settle the common case, in which no object is split or merged; return False in other cases."""
        encode = self.encode
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
                if member is not None and len(member.content) > _LARGE_PART_BYTES:
                    memory_limit.require_memory(4 * len(member.content))
                text = encode(value)
                if value.__class__ is dict and (
                    len(text) > MAX_OBJECT_PART_BYTES or text == SPLIT_OBJECT
                ):
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
                    self.take_number(), new_texts[name], member_path(tracked, name)
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
        self._next_number = self._settled_number
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

    def whole(self, state: Any) -> Any:
        """Return the state that a handler returned (None: the same one) as plain values."""
        return to_plain_value(self.root if state is None else state)

    def vanish(self, part_columns: PartColumns, change: int) -> None:
        """Report all parts as removed, because the document was deleted or is kept whole from now on."""
        rows: ChangedParts = {"": (None, None)}
        self.report_removed(self.root, rows)
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

    # Splitting objects

    def create_object(
        self, parent: Optional[TrackedDict], name: Any, path: str, place: PartPlace
    ) -> TrackedDict:
        """Return a split object without members."""
        tracked = TrackedDict()
        tracked.known, tracked.touched, tracked.removed = {}, {}, set()
        tracked.notes, tracked.parent, tracked.name = self._notes, parent, name
        tracked.path, tracked.place = path, place
        return tracked

    def fill(self, tracked: TrackedDict, members: Dict[Any, Any], rows: ChangedParts) -> None:
        """Add members to a new split object."""
        for name in members:
            number = self.take_number()
            content, value = self.store_member(
                tracked, name, number, get_untracked(members, name), rows
            )
            set_untracked(tracked, name, value)
            tracked.known[name] = Member(number, content, member_path(tracked, name))

    def store_member(
        self, tracked: TrackedDict, name: Any, number: int, value: Any, rows: ChangedParts
    ) -> Tuple[PartContent, Any]:
        """Return the content of a new member's part, and the value to put into its object.

        Adds the new parts to `rows`. Raises `NotSplittableError`.
        """
        raise_for_unsplittable_names(tracked, (name,))
        path, place = member_path(tracked, name), (*tracked.place, number)
        if value.__class__ is TrackedDict and value.at_home:
            raise NotSplittableError
        encoded = self.encode(value)
        if value.__class__ in DICT_TYPES and (
            len(encoded) > MAX_OBJECT_PART_BYTES or encoded == SPLIT_OBJECT
        ):
            rows[path] = place, SPLIT_OBJECT
            inner = self.create_object(tracked, name, path, place)
            self.fill(inner, value, rows)
            return inner, inner
        rows[path] = place, encoded
        return encoded, to_plain_member(value)

    def take_number(self) -> int:
        """Return the number of the next member, and count up."""
        self._next_number += 1
        return self._next_number - 1

    def report_removed(self, tracked: TrackedDict, rows: ChangedParts) -> None:
        """Add to `rows` that all parts inside an object are removed."""
        for member in tracked.known.values():
            if isinstance(member.content, TrackedDict):
                self.report_removed(member.content, rows)
            rows[member.path] = None, None

    def _matches_report(self, tracked: TrackedDict) -> bool:
        return dict.keys(tracked) == tracked.known.keys() and all(
            get_untracked(tracked, name) is member.content
            if member.content.__class__ is TrackedDict
            else self.encode(get_untracked(tracked, name)) == member.content
            for name, member in tracked.known.items()
        )

    def _clear_notes(self) -> None:
        for tracked in self._notes.noted_dicts:
            tracked.touched.clear()
            tracked.removed.clear()
        self._notes.noted_dicts.clear()


class _Settlement:
    """The changes of one event, collected first and applied together, so an error changes nothing."""

    def __init__(self, parts: DocumentParts) -> None:
        self.rows: ChangedParts = {}
        self._parts = parts
        self._members: List[Tuple[TrackedDict, Any, Member, Any]] = []
        self._removed_members: List[Tuple[TrackedDict, Any]] = []
        self._replaced_objects: List[TrackedDict] = []
        self._settled_ids: Set[int] = set()
        """Identities of the objects that were removed or are settled already."""

    def settle_touched(self, noted_dicts: List[TrackedDict]) -> None:
        """Collect the changes that these objects noted."""
        if len(noted_dicts) > 1:
            noted_dicts = sorted(
                noted_dicts, key=lambda tracked: len(tracked.place)
            )  # outer objects first
        for split in noted_dicts:
            if encoding.object_identity(split) in self._settled_ids:
                continue
            new_count = 0
            for name in split.touched:
                if name not in split:
                    self._remove_member(split, name)
                elif name in split.removed or name not in split.known:
                    new_count += 1
                else:
                    self._settle_member(split, name, get_untracked(split, name), is_new=False)
            for name in last_added_names(split, new_count):
                self._settle_member(split, name, get_untracked(split, name), is_new=True)

    def replace_object(self, tracked: TrackedDict, members: Dict[Any, Any]) -> None:
        """Collect the changes between an object and the dict that takes its place."""
        self._settled_ids.add(encoding.object_identity(tracked))
        self._replaced_objects.append(tracked)
        highest = -1
        for name in members:
            number = tracked.known[name].number if name in tracked.known else -1
            # Numbers must grow in the order of the members.
            highest = self._settle_member(
                tracked, name, get_untracked(members, name), is_new=number < highest
            )
        for name in tracked.known:
            if name not in members:
                self._remove_member(tracked, name)

    def apply_changes(self) -> None:
        """Apply the collected changes to the document."""
        for tracked in self._replaced_objects:
            dict.clear(tracked)
        for tracked, name in self._removed_members:
            tracked.known.pop(name, None)
        for tracked, name, member, value in self._members:
            tracked.known[name] = member
            set_untracked(tracked, name, value)

    def _settle_member(self, tracked: TrackedDict, name: Any, value: Any, *, is_new: bool) -> int:
        """Collect the change of one member; return its number."""
        previous = tracked.known.get(name)
        if previous is None or is_new:
            if previous is not None:
                self._report_removed(previous.content)
            number = self._parts.take_number()
            content, value = self._parts.store_member(tracked, name, number, value, self.rows)
        else:
            number = previous.number
            content, value = self._store_known_member(tracked, name, previous, value)
        self._members.append(
            (tracked, name, Member(number, content, member_path(tracked, name)), value)
        )
        return number

    def _store_known_member(
        self, tracked: TrackedDict, name: Any, previous: Member, value: Any
    ) -> Tuple[PartContent, Any]:
        """Return the content of an existing member's part, and the value to put into its object."""
        number, previous_content = previous.number, previous.content
        if isinstance(previous_content, TrackedDict):
            if value is previous_content:
                return previous_content, previous_content
            if value.__class__ in DICT_TYPES:
                if value.__class__ is TrackedDict and value.at_home:
                    raise NotSplittableError
                self.replace_object(previous_content, value)
                return previous_content, previous_content
            self._report_removed(previous_content)
        else:
            if len(previous_content) > _LARGE_PART_BYTES:
                memory_limit.require_memory(4 * len(previous_content))
            text = self._parts.encode(value)
            if text == previous_content:
                return previous_content, value
            if value.__class__ not in DICT_TYPES or (
                len(text) <= MAX_OBJECT_PART_BYTES and text != SPLIT_OBJECT
            ):
                self.rows[previous.path] = None, text
                return text, to_plain_member(value)
        return self._parts.store_member(tracked, name, number, value, self.rows)

    def _remove_member(self, tracked: TrackedDict, name: Any) -> None:
        previous = tracked.known.get(name)
        if previous is not None:
            self._report_removed(previous.content)
            self.rows[previous.path] = None, None
            self._removed_members.append((tracked, name))

    def _report_removed(self, content: PartContent) -> None:
        if isinstance(content, TrackedDict):
            self._parts.report_removed(content, self.rows)
            self._settled_ids.update(map(encoding.object_identity, iterate_tracked(content)))
