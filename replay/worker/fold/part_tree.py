"""The split objects of a large document: creates them, numbers their members, reports their parts.

An object whose JSON exceeds `MAX_OBJECT_PART_BYTES` is split into its members; every other member is
one part. The text `{}` stands for a split object, so an empty object counts as split too.

A part has a path (a JSON pointer) and a place: one number for each step of the path. Numbers grow with
every member that is added, so parts sorted by place give the document in the order of its members.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

from .result import ChangedParts
from .tracked_dict import (
    DICT_TYPES,
    ChangeNotes,
    Member,
    NotSplittableError,
    PartContent,
    PartPlace,
    TrackedDict,
    get_untracked,
    member_path,
    raise_for_unsplittable_names,
    set_untracked,
    to_plain_member,
)

MAX_OBJECT_PART_BYTES = 1 << 10
"""An object with at most this many bytes of JSON is one part."""
LARGE_PART_BYTES = 1 << 20
"""Check for free memory before encoding a part whose last JSON had more bytes than this."""
SPLIT_OBJECT = b"{}"
"""Text that is stored for a split object."""


def must_split(text: bytes) -> bool:
    """Return whether an object with this JSON is split into its members."""
    return len(text) > MAX_OBJECT_PART_BYTES or text == SPLIT_OBJECT


class PartTree:
    """The split objects of one document, from its root down."""

    def __init__(self, encode: Callable[[Any], bytes], notes: ChangeNotes) -> None:
        self.encode = encode
        self._notes = notes
        self.next_number = 1
        """The number of the next member that is added."""
        self.root = self.create_object(None, None, "", ())

    def create_object(
        self, parent: Optional[TrackedDict], name: Any, path: str, place: PartPlace
    ) -> TrackedDict:
        """Return a split object without members."""
        tracked = TrackedDict()
        tracked.known, tracked.touched, tracked.removed = {}, {}, set()
        tracked.notes, tracked.parent, tracked.name = self._notes, parent, name
        tracked.path, tracked.place = path, place
        return tracked

    def fill_object(
        self, tracked: TrackedDict, members: Dict[Any, Any], rows: ChangedParts
    ) -> None:
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
        if value.__class__ is TrackedDict and value.is_in_parent:
            raise NotSplittableError
        encoded = self.encode(value)
        if value.__class__ in DICT_TYPES and must_split(encoded):
            rows[path] = place, SPLIT_OBJECT
            inner = self.create_object(tracked, name, path, place)
            self.fill_object(inner, value, rows)
            return inner, inner
        rows[path] = place, encoded
        return encoded, to_plain_member(value)

    def take_number(self) -> int:
        """Return the number of the next member, and count up."""
        self.next_number += 1
        return self.next_number - 1

    def report_removed(self, tracked: TrackedDict, rows: ChangedParts) -> None:
        """Add to `rows` that all parts inside an object are removed."""
        for member in tracked.known.values():
            if isinstance(member.content, TrackedDict):
                self.report_removed(member.content, rows)
            rows[member.path] = None, None
