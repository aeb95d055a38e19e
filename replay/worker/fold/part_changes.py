"""The changes that one event made to the parts of a large document."""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

from ..environment import memory_limit
from ..protocol import encoding
from .part_tree import LARGE_PART_BYTES, PartTree, must_split
from .result import ChangedParts
from .tracked_dict import (
    DICT_TYPES,
    Member,
    NotSplittableError,
    PartContent,
    TrackedDict,
    get_untracked,
    iterate_tracked,
    last_added_names,
    member_path,
    set_untracked,
    to_plain_member,
)


class PartChanges:
    """The changes of one event, collected first and applied together, so an error changes nothing."""

    def __init__(self, tree: PartTree) -> None:
        self.rows: ChangedParts = {}
        self._tree = tree
        self._members: List[Tuple[TrackedDict, Any, Member, Any]] = []
        self._removed_members: List[Tuple[TrackedDict, Any]] = []
        self._replaced_objects: List[TrackedDict] = []
        self._collected_ids: Set[int] = set()
        """Identities of the objects that were removed or are collected already."""

    def collect_noted(self, noted_dicts: List[TrackedDict]) -> None:
        """Collect the changes that these objects noted."""
        if len(noted_dicts) > 1:
            noted_dicts = sorted(
                noted_dicts, key=lambda tracked: len(tracked.place)
            )  # outer objects first
        for split in noted_dicts:
            if encoding.object_identity(split) in self._collected_ids:
                continue
            new_count = 0
            for name in split.touched:
                if name not in split:
                    self._remove_member(split, name)
                elif name in split.removed or name not in split.known:
                    new_count += 1
                else:
                    self._collect_member(split, name, get_untracked(split, name), is_new=False)
            for name in last_added_names(split, new_count):
                self._collect_member(split, name, get_untracked(split, name), is_new=True)

    def replace_object(self, tracked: TrackedDict, members: Dict[Any, Any]) -> None:
        """Collect the changes between an object and the dict that takes its place."""
        self._collected_ids.add(encoding.object_identity(tracked))
        self._replaced_objects.append(tracked)
        highest = -1
        for name in members:
            number = tracked.known[name].number if name in tracked.known else -1
            # Numbers must grow in the order of the members.
            highest = self._collect_member(
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

    def _collect_member(self, tracked: TrackedDict, name: Any, value: Any, *, is_new: bool) -> int:
        """Collect the change of one member; return its number."""
        previous = tracked.known.get(name)
        if previous is None or is_new:
            if previous is not None:
                self._report_removed(previous.content)
            number = self._tree.take_number()
            content, value = self._tree.store_member(tracked, name, number, value, self.rows)
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
                if value.__class__ is TrackedDict and value.is_in_parent:
                    raise NotSplittableError
                self.replace_object(previous_content, value)
                return previous_content, previous_content
            self._report_removed(previous_content)
        else:
            if len(previous_content) > LARGE_PART_BYTES:
                memory_limit.require_memory(4 * len(previous_content))
            text = self._tree.encode(value)
            if text == previous_content:
                return previous_content, value
            if value.__class__ not in DICT_TYPES or not must_split(text):
                self.rows[previous.path] = None, text
                return text, to_plain_member(value)
        return self._tree.store_member(tracked, name, number, value, self.rows)

    def _remove_member(self, tracked: TrackedDict, name: Any) -> None:
        previous = tracked.known.get(name)
        if previous is not None:
            self._report_removed(previous.content)
            self.rows[previous.path] = None, None
            self._removed_members.append((tracked, name))

    def _report_removed(self, content: PartContent) -> None:
        if isinstance(content, TrackedDict):
            self._tree.report_removed(content, self.rows)
            self._collected_ids.update(map(encoding.object_identity, iterate_tracked(content)))
