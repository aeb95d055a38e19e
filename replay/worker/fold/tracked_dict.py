"""A split object of a large document: a dict that notes which of its members may have changed.

Handlers see an ordinary dict. It notes which members were read, set or removed, because a handler
can have changed no others. Reading an immutable value is not noted.
"""

from __future__ import annotations

from collections import abc
from copy import deepcopy
from enum import Enum
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union

from ..protocol import encoding

PartPlace = Tuple[int, ...]
"""A part's place: one number for each step of its path."""
PartContent = Union[bytes, "TrackedDict"]
"""A part's JSON, or the split object whose members are parts."""


class NotSplittableError(Exception):
    """The document can't be kept in parts: it is not an object, shares a value, or has odd names."""


_IMMUTABLE_TYPES = frozenset((str, int, float, bool, type(None), bytes))
get_untracked = dict.__getitem__
set_untracked = dict.__setitem__
find_untracked = dict.get
"""The dict's own methods, which note nothing."""


class Member:
    """A member of a split object as it was before the event."""

    __slots__ = ("content", "number", "path")

    def __init__(self, number: int, content: PartContent, path: str) -> None:
        self.number = number
        self.content = content
        self.path = path


class ChangeNotes:
    """The notes of one document's split objects about one event."""

    def __init__(self, *, keeps_originals: bool) -> None:
        self.is_recording = True
        self.keeps_originals = keeps_originals
        """Whether to copy members before they change, because JSON can't restore them."""
        self.noted_dicts: List[TrackedDict] = []
        """The objects that have noted a member."""


class TrackedDict(dict):  # type: ignore[type-arg]
    """A split object. Handlers see an ordinary dict."""

    __slots__ = ("known", "name", "notes", "parent", "path", "place", "removed", "touched")

    notes: ChangeNotes
    parent: Optional[TrackedDict]
    name: Any
    path: str
    place: PartPlace
    known: Dict[Any, Member]
    touched: Dict[Any, Any]
    """Members that an event may have changed; their copies if JSON can't restore them, or None."""
    removed: Set[Any]
    """Members that an event removed, even if it added others of the same name."""

    def __getitem__(self, name: Any) -> Any:
        value = get_untracked(self, name)
        if value.__class__ not in _UNNOTED_TYPES and name not in self.touched:
            self._note_member(name)
        return value

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - it is what `get` does

    def setdefault(self, name: Any, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        if name not in self.touched:
            self._note_member(name)
        set_untracked(self, name, value)

    def __delitem__(self, name: Any) -> None:
        if name in self and self.notes.is_recording:
            if name not in self.touched:
                self._note_member(name)
            self.removed.add(name)
        dict.__delitem__(self, name)

    def pop(self, name: Any, *default: Any) -> Any:
        if name not in self:
            return dict.pop(self, name, *default)
        value = get_untracked(self, name)
        del self[name]
        # The caller may put it into another object, which must not share a TrackedDict.
        return to_plain_member(value)

    def popitem(self) -> Tuple[Any, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        name = next(dict.__reversed__(self))
        return name, self.pop(name)

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def update(self, *others: Any, **more: Any) -> None:
        for name, value in dict(*others, **more).items():
            self[name] = value

    def __ior__(self, other: Any) -> "TrackedDict":
        self.update(other)
        return self

    def __iter__(self) -> Iterator[Any]:
        # This override makes dict(self) and {**self} read each member, and so note it.
        return dict.__iter__(self)

    def values(self) -> Any:
        return _Values(self)

    def items(self) -> Any:
        return _Items(self)

    def copy(self) -> Dict[Any, Any]:
        return dict(self)

    __copy__ = copy

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __deepcopy__(self, memo: Dict[int, Any]) -> Dict[Any, Any]:
        return {name: deepcopy(get_untracked(self, name), memo) for name in self}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (to_plain_value(self),)

    @classmethod
    def fromkeys(cls, names: Any, value: Any = None) -> Any:
        return dict.fromkeys(names, value)

    @property
    def is_in_parent(self) -> bool:
        """Whether the parent object still holds this object under its name; true for the root."""
        return self.parent is None or find_untracked(self.parent, self.name) is self

    @property
    def in_document(self) -> bool:
        """Whether this object and all objects around it are still part of the document."""
        tracked: Optional[TrackedDict] = self
        while tracked is not None and tracked.is_in_parent:
            tracked = tracked.parent
        return tracked is None

    def _note_member(self, name: Any) -> None:
        """Note a member that may change from now on."""
        touched, notes = self.touched, self.notes
        if not notes.is_recording:
            return
        if not touched:
            notes.noted_dicts.append(self)
        touched[name] = _copy_original(self, name) if notes.keeps_originals else None


_UNNOTED_TYPES = _IMMUTABLE_TYPES | {TrackedDict}
"""Reading these is not noted: they can't change, or note their own changes."""
DICT_TYPES = (dict, TrackedDict)
"""Types of objects that can be split."""


class _Values(abc.ValuesView):  # type: ignore[type-arg]
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping[name] for name in reversed(self._mapping))


class _Items(abc.ItemsView):  # type: ignore[type-arg]
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        return ((name, self._mapping[name]) for name in reversed(self._mapping))


def last_added_names(tracked: TrackedDict, count: int) -> List[Any]:
    """Return the names of the last `count` members added to an object, oldest first."""
    return list(islice(dict.__reversed__(tracked), count))[::-1]


def member_path(tracked: TrackedDict, name: Any) -> str:
    """Return the path of a member, a JSON pointer."""
    text = name if type(name) is str else encoding.encode_key(name)
    if "~" in text or "/" in text:
        text = text.replace("~", "~0").replace("/", "~1")
    return f"{tracked.path}/{text}"


def raise_for_unsplittable_names(tracked: TrackedDict, names: Iterable[Any]) -> None:
    """Raise `NotSplittableError` if new members can't have unique, storable paths."""
    first = next(dict.__iter__(tracked), None)
    for name in names:
        # The names 1 and "1" would have the same path.
        if type(name) is not type(first if first is not None else name):
            raise NotSplittableError
        if type(name) is not str and not tracked.notes.keeps_originals:
            raise NotSplittableError  # a later check finds that it doesn't round-trip
        if type(name) is str and not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise NotSplittableError from None
        # NUL separates paths in a frame.
        if "\0" in (name if type(name) is str else encoding.encode_key(name)):
            raise NotSplittableError


def iterate_tracked(tracked: TrackedDict) -> Iterator[TrackedDict]:
    """Yield a split object and all split objects inside it, as of before the event."""
    yield tracked
    for member in tracked.known.values():
        if isinstance(member.content, TrackedDict):
            yield from iterate_tracked(member.content)


def to_plain_member(member: Any) -> Any:
    """Return a member as a plain value, which may be put into another object."""
    return to_plain_value(member) if member.__class__ is TrackedDict else member


def to_plain_value(value: Any) -> Any:
    """Return a value with plain dicts for split objects; shared values stay shared."""
    return _to_plain_value(value, {})


def _to_plain_value(value: Any, plain_by_id: Dict[int, Any]) -> Any:
    if value.__class__ is TrackedDict:
        if encoding.object_identity(value) not in plain_by_id:
            plain_by_id[encoding.object_identity(value)] = plain = {}
            for name in dict.__iter__(value):
                plain[name] = _to_plain_value(get_untracked(value, name), plain_by_id)
        return plain_by_id[encoding.object_identity(value)]
    if value.__class__ is dict:
        for name, item in value.items():
            value[name] = _to_plain_value(item, plain_by_id)
    elif value.__class__ is list:
        value[:] = [_to_plain_value(item, plain_by_id) for item in value]
    return value


def has_shared_values(state: Any) -> bool:
    """Return whether a state shares a mutable value, contains itself, or contains a split object."""
    seen_ids: Set[int] = set()
    waiting = [state]
    while waiting:
        value = waiting.pop()
        if value.__class__ is TrackedDict:
            return True
        if isinstance(value, dict):
            inside: Any = value.values()
        elif isinstance(value, (list, tuple)):
            inside = value
        elif hasattr(value, "__dict__") and not isinstance(value, (Enum, type)):
            inside = vars(value).values()
        else:
            continue
        if not isinstance(value, tuple):
            if encoding.object_identity(value) in seen_ids:
                return True
            seen_ids.add(encoding.object_identity(value))
        waiting += [item for item in inside if item.__class__ not in _IMMUTABLE_TYPES]
    return False


def _copy_original(tracked: TrackedDict, name: Any) -> Any:
    """Return a copy of a member before it changes; a split object tracks its own members."""
    value = find_untracked(tracked, name)
    return value if value.__class__ is TrackedDict else deepcopy(value)
