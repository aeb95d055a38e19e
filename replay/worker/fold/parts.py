"""A large document in parts: what an event changed of it, found without looking at the rest.

Objects inside of a large document become dicts that note which members were handed out, set or
taken away, which is all that a handler can have changed. After each event only those are encoded and
compared with what they were. An object is taken apart into its members as long as its JSON is more
than a part may have; every member that isn't is a part, whole. An object that was once taken apart
stays so, and an empty one counts as taken apart: `{}` stands for an object whose members, if any,
are parts of their own.

A part has a path, a JSON pointer, and a place: a number for each step of the path, which grows with
every member that is put into an object, so that parts in the order of their places are the document
in the order of its members.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ..environment import memory_limit
from ..protocol import encoding
from .result import Changed, ToldParts
from .tracked_dict import (
    OBJECTS,
    Held,
    Member,
    Notes,
    Place,
    Split,
    WholeError,
    arrived,
    below,
    by_itself,
    check_names,
    get,
    look,
    put,
    shares,
    splits,
    unsplit,
)

SMALL = 1 << 10
"""Bytes of JSON up to which an object is one part."""

_MUCH = 1 << 20
"""Bytes of JSON that there may be no room for."""
OPEN = b"{}"
"""What an object that is taken apart is kept as."""

Kept = Tuple[Iterable[Tuple[str, Place, bytes]], int]
"""Parts as they were kept, in the order of their places, and the number of the next member."""


_ABSENT = object()


class Parts:
    """One large document, taken apart."""

    def __init__(
        self, encode: Callable[[Any], bytes], decode: Callable[[Any], Any], *, careful: bool
    ) -> None:
        self.encode = encode
        self._decode = decode
        self._careful = careful
        self._notes = Notes(careful=careful)
        self._next = self._settled = 1
        self.root = self.opened(None, None, "", ())

    def take_apart(self, state: Any, told: ToldParts, change: int) -> None:
        """Begin with a state, and tell its parts; raises `WholeError` where it can't be taken apart."""
        if type(state) is not dict or shares(state):
            raise WholeError
        rows: Changed = {"": ((), OPEN)}
        self.fill(self.root, state, rows)
        self._settled = self._next
        told.take(change, rows)

    def take_up(self, rows: Iterable[Tuple[str, Place, bytes]], following: int) -> None:
        """Begin with the parts that there were, in the order of their places; `following` is the
        number of the next member that is put in."""
        opened = {"": self.root}
        for path, place, text in rows:
            if not path:
                continue
            above, _, step = path.rpartition("/")
            parent = opened[above]
            name = step.replace("~1", "/").replace("~0", "~")
            if text == OPEN:
                value = opened[path] = self.opened(parent, name, path, place)
            else:
                value = self._decode(text)
            put(parent, name, value)
            kept = value if text == OPEN else text
            parent.known[name] = Member(place[-1], kept, path)
        self._next = self._settled = following

    @property
    def changed(self) -> Iterator[Any]:
        """The values that the last event may have changed, before it is settled or taken back."""
        for split in self._notes.taken:
            if not split.in_document:
                continue  # what it had may stand elsewhere now, once
            for name in split.touched:
                value = look(split, name)
                if value.__class__ is not Split:
                    yield value

    def aside(self, ask: Callable[[Any], Any]) -> Any:
        """What somebody makes of the state who changes nothing; nothing is noted meanwhile."""
        self._notes.open = False
        try:
            return ask(self.root)
        finally:
            self._notes.open = True

    def settle(self, state: Any, told: ToldParts, change: int) -> bool:
        """Tell the parts that an event changed, whose handler gave this state (None: the same);
        whether there are any.

        Nothing is settled where it raises: what encoding raises, or `WholeError`.
        """
        if self._careful and shares(list(self.changed)):
            raise WholeError
        same = state is None or state is self.root
        count = len(told.paths)
        if not (same and self._quickly_settled(told, change)):
            settling = _Settling(self)
            if not same:
                if type(state) is not dict:
                    raise WholeError
                settling.replace(self.root, state)
            settling.touched(self._notes.taken)
            settling.put()
            told.take(change, settling.rows)
            self._close()
        self._settled = self._next
        return len(told.paths) > count

    def _quickly_settled(self, told: ToldParts, change: int) -> bool:
        """The common case, in which only parts have come, changed or gone; False: it is another."""
        encode = self.encode
        changed: List[Tuple[Member, bytes]] = []
        others: List[Tuple[Split, List[Any], Dict[Any, bytes]]] = []
        for split in self._notes.taken:
            known, removed = split.known, split.removed
            gone: List[Any] = []
            new: Dict[Any, bytes] = {}
            for name in split.touched:
                member = known.get(name)
                value = look(split, name, _ABSENT)
                if value.__class__ is Split or (member and member.kept.__class__ is Split):
                    return False
                if value is _ABSENT:
                    if member is not None:
                        gone.append(name)
                    continue
                if member is not None and len(member.kept) > _MUCH:
                    memory_limit.spare(4 * len(member.kept))
                text = encode(value)
                if value.__class__ is dict and (len(text) > SMALL or text == OPEN):
                    return False
                if member is None or name in removed:
                    new[name] = text
                elif text != member.kept:
                    changed.append((member, text))
            if gone or new:
                check_names(split, new)
                others.append((split, gone, new))
        for member, text in changed:
            member.kept = text
            told.rows.append(change)
            told.paths.append(member.path)
            told.states.append(text)
        for split, gone, new in others:
            known = split.known
            rows: Changed = {known.pop(name).path: (None, None) for name in gone}
            for name in arrived(split, len(new)):
                member = known[name] = Member(self.number(), new[name], below(split, name))
                rows[member.path] = (*split.place, member.number), new[name]
            told.take(change, rows)
        self._close()
        return True

    def take_back(self) -> None:
        """Make the document what it was before the event."""
        for split in self._notes.taken:
            for name, original in split.touched.items():
                was = split.known.get(name)
                if was is None:
                    dict.pop(split, name, None)
                elif was.kept.__class__ is Split:
                    put(split, name, was.kept)
                else:
                    put(split, name, original if self._careful else self._decode(was.kept))
            if split.removed:
                names = sorted(split.known, key=lambda name: split.known[name].number)
                members = {name: get(split, name) for name in names}
                dict.clear(split)
                dict.update(split, members)
        self._next = self._settled
        self._close()

    def changes_are_plain(self, state: Any) -> bool:
        """Whether what the last event put in comes back from its JSON, as far as a look goes;
        `state` is what its handler gave."""
        values = list(self.changed)  # together, as a value may be at two places now
        if state.__class__ is dict:
            met = set(map(encoding.identity, values))
            values += [value for value in dict.values(state) if encoding.identity(value) not in met]
        found: bool = encoding.is_plain([v for v in values if v.__class__ is not Split])
        return found

    def whole(self, state: Any) -> Any:
        """The state that a handler gave (None: the same), not taken apart."""
        return unsplit(self.root if state is None else state)

    def vanish(self, told: ToldParts, change: int) -> None:
        """Tell that there are no parts: there is no document any more, or it is kept whole."""
        rows: Changed = {"": (None, None)}
        self.forget(self.root, rows)
        told.take(change, rows)

    def as_told(self) -> bool:
        """Whether every part is what was told of it, which it isn't if a handler kept a value for
        itself and changed it later."""
        return all(map(self._same, splits(self.root)))

    def is_plain(self) -> bool:
        """Whether the document comes back from its JSON as it is."""
        members = [m for split in splits(self.root) for m in dict.items(split)]
        if not all(type(name) is str for name, _ in members):
            return False
        # Together, as a value may be at two places.
        plain: bool = encoding.is_plain([v for _, v in members if v.__class__ is not Split])
        return plain

    # How objects are taken apart

    def opened(self, parent: Optional[Split], name: Any, path: str, place: Place) -> Split:
        """An object without members."""
        split = Split()
        split.known, split.touched, split.removed = {}, {}, set()
        split.notes, split.parent, split.name = self._notes, parent, name
        split.path, split.place = path, place
        return split

    def fill(self, split: Split, members: Dict[Any, Any], rows: Changed) -> None:
        """Put members into an object that is new."""
        for name in members:
            number = self.number()
            kept, value = self.kept(split, name, number, get(members, name), rows)
            put(split, name, value)
            split.known[name] = Member(number, kept, below(split, name))

    def kept(
        self, split: Split, name: Any, number: int, value: Any, rows: Changed
    ) -> Tuple[Held, Any]:
        """How a new member is kept, and what then stands in its object."""
        check_names(split, (name,))
        path, place = below(split, name), (*split.place, number)
        if value.__class__ is Split and value.at_home:
            raise WholeError
        text = self.encode(value)
        if value.__class__ in OBJECTS and (len(text) > SMALL or text == OPEN):
            rows[path] = place, OPEN
            inner = self.opened(split, name, path, place)
            self.fill(inner, value, rows)
            return inner, inner
        rows[path] = place, text
        return text, by_itself(value)

    def number(self) -> int:
        """The next member's."""
        self._next += 1
        return self._next - 1

    def forget(self, split: Split, rows: Changed) -> None:
        """All that was below an object is gone."""
        for member in split.known.values():
            if isinstance(member.kept, Split):
                self.forget(member.kept, rows)
            rows[member.path] = None, None

    def _same(self, split: Split) -> bool:
        return dict.keys(split) == split.known.keys() and all(
            get(split, name) is member.kept
            if member.kept.__class__ is Split
            else self.encode(get(split, name)) == member.kept
            for name, member in split.known.items()
        )

    def _close(self) -> None:
        for split in self._notes.taken:
            split.touched.clear()
            split.removed.clear()
        self._notes.taken.clear()


class _Settling:
    """What one event did; nothing of it is put into the document before all is known."""

    def __init__(self, parts: Parts) -> None:
        self.rows: Changed = {}
        self._parts = parts
        self._members: List[Tuple[Split, Any, Member, Any]] = []
        self._gone: List[Tuple[Split, Any]] = []
        self._replaced: List[Split] = []
        self._settled: Set[int] = set()
        """The objects that are out of the document now, or have been gone through."""

    def touched(self, noted: List[Split]) -> None:
        """What was noted by these objects."""
        if len(noted) > 1:
            noted = sorted(noted, key=lambda split: len(split.place))  # outer ones first
        for split in noted:
            if encoding.identity(split) in self._settled:
                continue
            new = 0
            for name in split.touched:
                if name not in split:
                    self._take_out(split, name)
                elif name in split.removed or name not in split.known:
                    new += 1
                else:
                    self._put_in(split, name, get(split, name), new=False)
            for name in arrived(split, new):
                self._put_in(split, name, get(split, name), new=True)

    def replace(self, split: Split, members: Dict[Any, Any]) -> None:
        """An object in the place of another one, whose members may be the same."""
        self._settled.add(encoding.identity(split))
        self._replaced.append(split)
        highest = -1
        for name in members:
            number = split.known[name].number if name in split.known else -1
            # Numbers grow with the order of the members.
            highest = self._put_in(split, name, get(members, name), new=number < highest)
        for name in split.known:
            if name not in members:
                self._take_out(split, name)

    def put(self) -> None:
        """Put all of it into the document."""
        for split in self._replaced:
            dict.clear(split)
        for split, name in self._gone:
            split.known.pop(name, None)
        for split, name, member, value in self._members:
            split.known[name] = member
            put(split, name, value)

    def _put_in(self, split: Split, name: Any, value: Any, *, new: bool) -> int:
        """Take note of a member; its number."""
        was = split.known.get(name)
        if was is None or new:
            if was is not None:
                self._forget(was.kept)
            number = self._parts.number()
            kept, value = self._parts.kept(split, name, number, value, self.rows)
        else:
            number = was.number
            kept, value = self._kept(split, name, was, value)
        self._members.append((split, name, Member(number, kept, below(split, name)), value))
        return number

    def _kept(self, split: Split, name: Any, was: Member, value: Any) -> Tuple[Held, Any]:
        """How a member is kept that has been there before."""
        number, before = was.number, was.kept
        if isinstance(before, Split):
            if value is before:
                return before, before
            if value.__class__ in OBJECTS:
                if value.__class__ is Split and value.at_home:
                    raise WholeError
                self.replace(before, value)
                return before, before
            self._forget(before)
        else:
            if len(before) > _MUCH:
                memory_limit.spare(4 * len(before))
            text = self._parts.encode(value)
            if text == before:
                return before, value
            if value.__class__ not in OBJECTS or (len(text) <= SMALL and text != OPEN):
                self.rows[was.path] = None, text
                return text, by_itself(value)
        return self._parts.kept(split, name, number, value, self.rows)

    def _take_out(self, split: Split, name: Any) -> None:
        was = split.known.get(name)
        if was is not None:
            self._forget(was.kept)
            self.rows[was.path] = None, None
            self._gone.append((split, name))

    def _forget(self, kept: Held) -> None:
        if isinstance(kept, Split):
            self._parts.forget(kept, self.rows)
            self._settled.update(map(encoding.identity, splits(kept)))
