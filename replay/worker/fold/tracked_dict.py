"""An object of a large document that is taken apart: a dict that notes what may have changed in it.

Handlers see a dict. It notes which members were handed out, set or taken away, which is all that a
handler can have changed; what can't change may be handed out without being noted.
"""

from __future__ import annotations

from collections import abc
from copy import deepcopy
from enum import Enum
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union

from ..protocol import encoding

PartPlace = Tuple[int, ...]
"""A number for each step of a path."""
PartContent = Union[bytes, "TrackedDict"]
"""A part's JSON, or the object whose members are parts."""


class NotSplittableError(Exception):
    """The document can't be kept in parts: one value is at two places of it, or it is no object."""


_IMMUTABLE_TYPES = frozenset((str, int, float, bool, type(None), bytes))
get_untracked = dict.__getitem__
set_untracked = dict.__setitem__
find_untracked = dict.get
"""What is done to the dict without being noted."""


class Member:
    """A member as it was before the event."""

    __slots__ = ("kept", "number", "path")

    def __init__(self, number: int, kept: PartContent, path: str) -> None:
        self.number = number
        self.kept = kept
        self.path = path


class ChangeNotes:
    """What one event may have changed in one document."""

    def __init__(self, *, keeps_originals: bool) -> None:
        self.is_recording = True
        self.keeps_originals = keeps_originals
        """JSON doesn't bring back what there was."""
        self.noted_dicts: List[TrackedDict] = []
        """The objects that have noted something."""


class TrackedDict(dict):  # type: ignore[type-arg]
    """An object that is taken apart. Handlers see a dict."""

    __slots__ = ("known", "name", "notes", "parent", "path", "place", "removed", "touched")

    notes: ChangeNotes
    parent: Optional[TrackedDict]
    name: Any
    path: str
    place: PartPlace
    known: Dict[Any, Member]
    touched: Dict[Any, Any]
    """Members that an event may have changed, with what they were where that isn't told by JSON."""
    removed: Set[Any]
    """Members that an event took out, whether or not it put others in under their names."""

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
        # It may be put elsewhere, and then is another's.
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
        # As it is overridden, dict(self) and {**self} ask for each member, and so note it.
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
    def at_home(self) -> bool:
        """Whether it stands where it was put."""
        return self.parent is None or find_untracked(self.parent, self.name) is self

    @property
    def in_document(self) -> bool:
        """Whether it, and all that is around it, stands where it was put."""
        tracked: Optional[TrackedDict] = self
        while tracked is not None and tracked.at_home:
            tracked = tracked.parent
        return tracked is None

    def _note_member(self, name: Any) -> None:
        """A member that wasn't noted yet may be changed from now on."""
        touched, notes = self.touched, self.notes
        if not notes.is_recording:
            return
        if not touched:
            notes.noted_dicts.append(self)
        touched[name] = _copy_original(self, name) if notes.keeps_originals else None


_UNNOTED_TYPES = _IMMUTABLE_TYPES | {TrackedDict}
"""What can be handed out without being noted: it notes itself, or can't change."""
DICT_TYPES = (dict, TrackedDict)
"""What can be taken apart."""


class _Values(abc.ValuesView):  # type: ignore[type-arg]
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping[name] for name in reversed(self._mapping))


class _Items(abc.ItemsView):  # type: ignore[type-arg]
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        return ((name, self._mapping[name]) for name in reversed(self._mapping))


def last_added_names(tracked: TrackedDict, count: int) -> List[Any]:
    """The names that were put into an object last, in their order."""
    return list(islice(dict.__reversed__(tracked), count))[::-1]


def member_path(tracked: TrackedDict, name: Any) -> str:
    """The path of a member."""
    text = name if type(name) is str else encoding.encode_key(name)
    if "~" in text or "/" in text:
        text = text.replace("~", "~0").replace("/", "~1")
    return f"{tracked.path}/{text}"


def raise_for_unsplittable_names(tracked: TrackedDict, names: Iterable[Any]) -> None:
    """Raise `NotSplittableError` where new members can't have paths of their own."""
    first = next(dict.__iter__(tracked), None)
    for name in names:
        # 1 and "1" would have the same; and paths are told one after the other, with NUL between.
        if type(name) is not type(first if first is not None else name):
            raise NotSplittableError
        if type(name) is not str and not tracked.notes.keeps_originals:
            raise NotSplittableError  # it is no plain document, as will be seen
        if type(name) is str and not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise NotSplittableError from None
        if "\0" in (name if type(name) is str else encoding.encode_key(name)):
            raise NotSplittableError


def iterate_tracked(tracked: TrackedDict) -> Iterator[TrackedDict]:
    """An object that is taken apart, and all inside of it, as they are known."""
    yield tracked
    for member in tracked.known.values():
        if isinstance(member.kept, TrackedDict):
            yield from iterate_tracked(member.kept)


def to_plain_member(member: Any) -> Any:
    """A member that may be put elsewhere: an object that was taken apart as one that wasn't."""
    return to_plain_value(member) if member.__class__ is TrackedDict else member


def to_plain_value(value: Any) -> Any:
    """A value without objects that are taken apart; what is one value in it stays one."""
    return _to_plain_value(value, {})


def _to_plain_value(value: Any, plain_by_id: Dict[int, Any]) -> Any:
    if value.__class__ is TrackedDict:
        if encoding.object_identity(value) not in plain_by_id:
            plain_by_id[encoding.object_identity(value)] = plain = {}
            for name in dict.__iter__(value):
                plain[name] = _to_plain_value(get_untracked(value, name), plain_by_id)
        return plain_by_id[encoding.object_identity(value)]
    if value.__class__ is dict:
        for name, inside in value.items():
            value[name] = _to_plain_value(inside, plain_by_id)
    elif value.__class__ is list:
        value[:] = [_to_plain_value(inside, plain_by_id) for inside in value]
    return value


def has_shared_values(state: Any) -> bool:
    """Whether a value that may change is at two places of a state, or inside of itself, or belongs
    to an object that is taken apart."""
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
    """What a member was before it may change; an object that is taken apart keeps it by itself."""
    value = find_untracked(tracked, name)
    return value if value.__class__ is TrackedDict else deepcopy(value)
