"""A large document, which a history keeps in parts: its states, and the way from one to the next.

Nothing of it is decoded before somebody looks at it, and from one state to another nearby only the
parts are changed that differ, in copies of the objects around them.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec

from replay.document import paths
from replay.document.diff import Difference, differences, readable
from replay.document.paths import Path
from replay.history.changes import Change, value_of
from storage.db.query import arrow
from storage.errors import WorkspaceError
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

_KEPT = 2_000
"""Changes whose steps are kept at hand."""
_NEARBY = 5_000
"""Parts that may differ between states that are near each other."""
_OPEN = "{}"
_MINE = "(h.projection = ?) AND (h.timeline = ?) AND (h.bucket = ?) AND (h.key = ?)"


class Opened(dict[str, Any]):
    """An object of a large document; its members are JSON until they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, int] = {}
        """What its members are in the order of; copies share it until one of them changes it."""
        self._shared = False

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, msgspec.Raw):
            value = readable(bytes(value).decode())
            super().__setitem__(name, value)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - it is what `get` does

    def items(self) -> Any:
        return ((name, self[name]) for name in self)

    def values(self) -> Any:
        return (self[name] for name in self)

    def copy(self) -> "Opened":
        other = Opened()
        dict.update(other, self)  # as they are: its members aren't asked for
        other.places = self.places
        self._shared = other._shared = True
        return other

    def put(self, name: str, value: Any, place: int) -> None:
        """Put a member where it belongs."""
        moved = self.places.get(name) != place
        behind = moved and any(place < other for other in self.places.values())
        if moved:
            self.pop(name, None)
            self._own_places()[name] = place
        self[name] = value
        if behind:
            names = sorted(self, key=self.places.__getitem__)
            members = [(name, dict.__getitem__(self, name)) for name in names]
            self.clear()
            dict.update(self, members)

    def take_out(self, name: str) -> None:
        """Take a member away, if there is one."""
        self.pop(name, None)
        self._own_places().pop(name, None)

    def _own_places(self) -> dict[str, int]:
        if self._shared:
            self.places, self._shared = dict(self.places), False
        return self.places


@dataclass(frozen=True)
class Part:
    """What a part of a document was before a change, and is after it."""

    path: str
    before: str | None
    after: str | None
    place_before: int
    place_after: int

    @property
    def back(self) -> "Part":
        """The same, for whoever goes back."""
        return Part(self.path, self.after, self.before, self.place_after, self.place_before)


@dataclass(frozen=True)
class _Step:
    """What one change did."""

    previous: int
    """The number of the document's change before."""
    parts: Sequence[Part]


class Large:
    """One document. May be used from several threads."""

    def __init__(
        self, workspace: Workspace, projection: int, timeline: str, bucket: int, key: str
    ) -> None:
        self._workspace = workspace
        self._mine: list[Any] = [projection, timeline, bucket, key]
        self._lock = threading.Lock()
        self._steps: dict[int, _Step] = {}
        self._shown: tuple[int, Opened] = (-1, Opened())
        """The change whose value was asked for last, and the value."""

    def text(self, change: int) -> str | None:
        """The whole document as JSON, after a change."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f"SELECT state FROM ({document_parts.assembled(f'({_MINE} AND (h.change <= ?))')})",
                [*self._mine, change],
            ).fetchall()
        return found[0][0] if found else None

    def at_hand(self, change: int) -> bool:
        """Whether the value after a change can be had without asking the file."""
        with self._lock:
            return self._way(self._shown[0], change) is not None

    def value(self, change: int) -> Opened:
        """The whole document after a change; asks the file where it isn't at hand."""
        with self._lock:
            shown, value = self._shown
            way = self._way(shown, change)
            value = self._drawn(change) if way is None else _moved(value, way)
            self._shown = (change, value)
            return value

    def between(self, earlier: int, later: int) -> list[Difference]:
        """How the document after a change differs from what it was after an earlier one."""
        with self._lock:
            way = self._way(earlier, later)
        if way is None:
            with self._workspace.reading() as connection:
                changed = self._changed(connection, "change", earlier + 1, later)
            way = [part for _, part in changed]
        first = {part.path: part.back for part in reversed(way)}
        last = {part.path: part for part in way}
        return differences(*(_in_order(parts) for parts in (first, last)))

    def keep(
        self, connection: duckdb.DuckDBPyConnection, first: int, last: int, previous: dict[int, int]
    ) -> None:
        """Have the steps of a stretch of the log at hand; `previous` has its changes."""
        steps: dict[int, list[Part]] = {number: [] for number in previous}
        for number, part in self._changed(connection, "offset", first, last):
            if number in steps:
                steps[number].append(part)
        with self._lock:
            for number, found in steps.items():
                self._steps[number] = _Step(previous[number], found)
            while len(self._steps) > _KEPT:
                del self._steps[next(iter(self._steps))]

    def touches(
        self, path: Path, *, after: int, until: int, backwards: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        """Changes that may have changed the value at a path, of events behind `after` up to `until`:
        offset, and what they changed of the document, before and after."""
        pointer = paths.pointer(path)
        wanted = [paths.pointer(path[:n]) for n in range(len(path) + 1)]
        order = "DESC" if backwards else "ASC"
        query = (
            'SELECT "offset", part, earlier, state FROM (SELECT h."offset", h.part, h.state,'
            " lag(h.state) OVER (PARTITION BY h.part ORDER BY h.change) AS earlier FROM parts AS h"
            f" WHERE {_MINE} AND (list_contains(?, h.part) OR starts_with(h.part, ?))"
            f' AND h."offset" <= ?) WHERE "offset" > ? ORDER BY "offset" {order}, part'
        )
        with self._workspace.reading() as connection:
            found = connection.execute(query, [*self._mine, wanted, f"{pointer}/", until, after])
            at = -1
            old: dict[str, str | None] = {}
            new: dict[str, str | None] = {}
            while rows := found.fetchmany(10_000):
                for offset, part, before, now in rows:
                    if offset != at and at >= 0:
                        yield at, sparse(old), sparse(new)
                        old, new = {}, {}
                    at = offset
                    old[part], new[part] = before, now
            if at >= 0:
                yield at, sparse(old), sparse(new)

    def _way(self, start: int, end: int) -> list[Part] | None:
        """The parts that change from one change to another, if their steps are at hand."""
        steps, at, count = [], max(start, end), 0
        while at > min(start, end):
            step = self._steps.get(at)
            count += len(step.parts) if step else 0
            if step is None or count > _NEARBY:
                return None
            steps.append(step)
            at = step.previous
        if at != min(start, end):
            return None
        if end < start:
            return [part.back for step in steps for part in step.parts]
        return [part for step in reversed(steps) for part in step.parts]

    def _drawn(self, change: int) -> Opened:
        with self._workspace.reading() as connection:
            found = arrow(
                connection,
                "SELECT part, place[-1] AS place, state FROM"
                f" ({document_parts.alive(f'({_MINE} AND (h.change <= ?))')}) ORDER BY place",
                [*self._mine, change],
            )
        inside = root = Opened()
        opened, around = {"": root}, ""
        columns = (found[name].to_pylist() for name in ("part", "place", "state"))
        for path, place, state in zip(*columns, strict=True):
            above, _, step = path.rpartition("/")
            if not path:
                continue
            if above != around:
                if above not in opened:
                    raise self._damage(path)
                inside, around = opened[above], above
            name = _unescaped(step) if "~" in step else step
            if state == _OPEN:
                inside[name] = opened[path] = Opened()
            else:
                inside[name] = msgspec.Raw(state)
            inside.places[name] = place
        return root

    def _damage(self, path: str) -> WorkspaceError:
        """A stranger's parts may be any; ours stand inside of one another."""
        return WorkspaceError(
            f"{self._workspace.path} is damaged: the part {path!r} of {self._mine[-1]!r} is in"
            " nothing; fold it again with refold replay --force."
        )

    def _changed(
        self, connection: duckdb.DuckDBPyConnection, column: str, first: int, last: int
    ) -> list[tuple[int, Part]]:
        """Parts that changed from one `change` or `offset` to another, with the number of the change
        and what they were before, in the order of the log."""
        rows = connection.execute(
            "SELECT h.change, h.part, h.place[-1], h.state FROM parts AS h"
            f' WHERE {_MINE} AND h."{column}" BETWEEN ? AND ? ORDER BY h.change, h.part',
            [*self._mine, first, last],
        ).fetchall()
        touched = list({part for _, part, _, _ in rows})
        known = {
            part: (state, place)
            for part, state, place in connection.execute(
                "SELECT p.part, p.state, l.place FROM (SELECT arg_max(h.rowid, h.change) AS latest,"
                " arg_max(h.place[-1], h.change) AS place FROM parts AS h"
                f' WHERE {_MINE} AND list_contains(?, h.part) AND h."{column}" < ?'
                " GROUP BY h.part) AS l"
                " JOIN parts AS p ON p.rowid = l.latest",
                [*self._mine, touched, first],
            ).fetchall()
        }
        found = []
        for change, path, place, state in rows:
            before, place_before = known.get(path, (None, 0))
            place_after = place_before if place is None else place
            found.append((change, Part(path, before, state, place_before, place_after)))
            known[path] = state, place_after
        return found


@dataclass(frozen=True)
class InParts:
    """A change of a large document."""

    offset: int
    number: int
    """The change's."""
    document: Large

    @property
    def state(self) -> str | None:
        return self.document.text(self.number)

    @property
    def value(self) -> Any:
        return self.document.value(self.number)

    @property
    def at_hand(self) -> bool:
        """Whether its value can be had without asking the file."""
        return self.document.at_hand(self.number)

    def since(self, before: Change | None) -> list[Difference]:
        if isinstance(before, InParts):
            return self.document.between(before.number, self.number)
        return differences(value_of(before), self.value)


def _in_order(parts: dict[str, Part]) -> Any:
    """The value that has these parts, its members in the order of their places."""
    ordered = sorted(parts.values(), key=lambda part: (part.path.count("/"), part.place_after))
    return sparse({part.path: part.after for part in ordered})


def sparse(states: dict[str, str | None]) -> Any:
    """The value that has these parts, outer ones first, and of the others what is around them."""
    root: dict[str, Any] = {}
    for path, state in states.items():
        inside, at = root, ""
        *above, name = paths.from_pointer(path) or ("",)
        for step in above:
            at += paths.pointer((step,))
            if states.get(at, _OPEN) != _OPEN:
                break  # it is gone, or whole
            inside = inside.setdefault(step, {})
        else:
            if path and state == _OPEN:
                inside.setdefault(name, {})
            elif path and state is not None:
                inside[name] = readable(state)
    return root


def _moved(value: Opened, way: Sequence[Part]) -> Opened:
    root = value.copy()
    copied = {"": root}
    for part in sorted(way, key=lambda part: part.path) if len(way) > 1 else way:
        if not part.path:
            continue
        above, name = _name(part.path)
        parent = _copied(copied, above)
        if parent is None:
            continue  # it is gone with what was around it
        if part.after is None:
            parent.take_out(name)
        elif part.after != _OPEN:
            parent.put(name, msgspec.Raw(part.after), part.place_after)
        elif isinstance(dict.get(parent, name), Opened):
            parent.put(name, dict.__getitem__(parent, name), part.place_after)
        else:
            parent.put(name, Opened(), part.place_after)
    return root


def _copied(copied: dict[str, Opened], path: str) -> Opened | None:
    """The copy of an object, made with those around it; None where there is none."""
    if path not in copied:
        above, name = _name(path)
        parent = _copied(copied, above)
        inside = None if parent is None else dict.get(parent, name)
        if parent is None or not isinstance(inside, Opened):
            return None
        copied[path] = inside.copy()
        dict.__setitem__(parent, name, copied[path])
    return copied[path]


def _name(path: str) -> tuple[str, str]:
    """Where a part is, and what it is called there."""
    above, _, step = path.rpartition("/")
    return above, _unescaped(step)


def _unescaped(step: str) -> str:
    return paths.from_pointer(f"/{step}")[0]
