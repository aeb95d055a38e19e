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
from replay.document.diff import Difference, decode_or_text, find_differences
from replay.document.paths import DocumentPath
from replay.history.changes import Change, value_after
from storage.db.query import fetch_arrow
from storage.errors import WorkspaceError
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

_MAX_CACHED_STEPS = 2_000
"""Changes whose steps are kept at hand."""
_MAX_PARTS_BETWEEN_STATES = 5_000
"""Parts that may differ between states that are near each other."""
_EMPTY_OBJECT = "{}"
_DOCUMENT_CONDITION = "(h.projection = ?) AND (h.timeline = ?) AND (h.bucket = ?) AND (h.key = ?)"


class LazyObject(dict[str, Any]):
    """An object of a large document; its members are JSON until they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.member_places: dict[str, int] = {}
        """What its members are in the order of; copies share it until one of them changes it."""
        self._shared = False

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, msgspec.Raw):
            value = decode_or_text(bytes(value).decode())
            super().__setitem__(name, value)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - it is what `get` does

    def items(self) -> Any:
        return ((name, self[name]) for name in self)

    def values(self) -> Any:
        return (self[name] for name in self)

    def copy(self) -> "LazyObject":
        other = LazyObject()
        dict.update(other, self)  # as they are: its members aren't asked for
        other.member_places = self.member_places
        self._shared = other._shared = True
        return other

    def put(self, name: str, value: Any, position: int) -> None:
        """Put a member where it belongs."""
        moved = self.member_places.get(name) != position
        is_out_of_order = moved and any(position < other for other in self.member_places.values())
        if moved:
            self.pop(name, None)
            self._unshare_places()[name] = position
        self[name] = value
        if is_out_of_order:
            names = sorted(self, key=self.member_places.__getitem__)
            members = [(name, dict.__getitem__(self, name)) for name in names]
            self.clear()
            dict.update(self, members)

    def remove(self, name: str) -> None:
        """Take a member away, if there is one."""
        self.pop(name, None)
        self._unshare_places().pop(name, None)

    def _unshare_places(self) -> dict[str, int]:
        if self._shared:
            self.member_places, self._shared = dict(self.member_places), False
        return self.member_places


@dataclass(frozen=True)
class PartChange:
    """What a part of a document was before a change, and is after it."""

    path: str
    before: str | None
    after: str | None
    place_before: int
    place_after: int

    @property
    def inverse(self) -> "PartChange":
        """The same, for whoever goes back."""
        return PartChange(self.path, self.after, self.before, self.place_after, self.place_before)


@dataclass(frozen=True)
class _ChangeStep:
    """What one change did."""

    previous_change: int
    """The number of the document's change before."""
    part_changes: Sequence[PartChange]


class LargeDocument:
    """One document. May be used from several threads."""

    def __init__(
        self, workspace: Workspace, projection: int, timeline: str, bucket: int, key: str
    ) -> None:
        self._workspace = workspace
        self._document_parameters: list[Any] = [projection, timeline, bucket, key]
        self._lock = threading.Lock()
        self._steps: dict[int, _ChangeStep] = {}
        self._last_value: tuple[int, LazyObject] = (-1, LazyObject())
        """The change whose value was asked for last, and the value."""

    def json_after(self, change: int) -> str | None:
        """The whole document as JSON, after a change."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                "SELECT state FROM"
                f" ({document_parts.documents_sql(f'({_DOCUMENT_CONDITION} AND (h.change <= ?))')})",
                [*self._document_parameters, change],
            ).fetchall()
        return found[0][0] if found else None

    def is_cached(self, change: int) -> bool:
        """Whether the value after a change can be had without asking the file."""
        with self._lock:
            return self._cached_part_changes(self._last_value[0], change) is not None

    def value_after(self, change: int) -> LazyObject:
        """The whole document after a change; asks the file where it isn't at hand."""
        with self._lock:
            shown, value = self._last_value
            part_changes = self._cached_part_changes(shown, change)
            value = (
                self._load_value(change)
                if part_changes is None
                else _apply_part_changes(value, part_changes)
            )
            self._last_value = (change, value)
            return value

    def differences_between(self, earlier: int, later: int) -> list[Difference]:
        """How the document after a change differs from what it was after an earlier one."""
        with self._lock:
            part_changes = self._cached_part_changes(earlier, later)
        if part_changes is None:
            with self._workspace.reading() as connection:
                changed = self._load_part_changes(connection, "change", earlier + 1, later)
            part_changes = [part for _, part in changed]
        first = {part.path: part.inverse for part in reversed(part_changes)}
        last = {part.path: part for part in part_changes}
        return find_differences(*(_build_ordered_value(parts) for parts in (first, last)))

    def cache_steps(
        self, connection: duckdb.DuckDBPyConnection, first: int, last: int, previous: dict[int, int]
    ) -> None:
        """Have the steps of a stretch of the log at hand; `previous` has its changes."""
        steps: dict[int, list[PartChange]] = {number: [] for number in previous}
        for number, part in self._load_part_changes(connection, "offset", first, last):
            if number in steps:
                steps[number].append(part)
        with self._lock:
            for number, found in steps.items():
                self._steps[number] = _ChangeStep(previous[number], found)
            while len(self._steps) > _MAX_CACHED_STEPS:
                del self._steps[next(iter(self._steps))]

    def value_changes(
        self, path: DocumentPath, *, after: int, until: int, backwards: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        """Changes that may have changed the value at a path, of events behind `after` up to `until`:
        offset, and what they changed of the document, before and after."""
        pointer = paths.format_pointer(path)
        pointers = [paths.format_pointer(path[:n]) for n in range(len(path) + 1)]
        order = "DESC" if backwards else "ASC"
        query = (
            'SELECT "offset", part, earlier, state FROM (SELECT h."offset", h.part, h.state,'
            " lag(h.state) OVER (PARTITION BY h.part ORDER BY h.change) AS earlier FROM parts AS h"
            f" WHERE {_DOCUMENT_CONDITION} AND (list_contains(?, h.part) OR starts_with(h.part, ?))"
            f' AND h."offset" <= ?) WHERE "offset" > ? ORDER BY "offset" {order}, part'
        )
        with self._workspace.reading() as connection:
            found = connection.execute(
                query, [*self._document_parameters, pointers, f"{pointer}/", until, after]
            )
            current_offset = -1
            old: dict[str, str | None] = {}
            new: dict[str, str | None] = {}
            while rows := found.fetchmany(10_000):
                for offset, part, before, now in rows:
                    if offset != current_offset and current_offset >= 0:
                        yield current_offset, build_sparse_value(old), build_sparse_value(new)
                        old, new = {}, {}
                    current_offset = offset
                    old[part], new[part] = before, now
            if current_offset >= 0:
                yield current_offset, build_sparse_value(old), build_sparse_value(new)

    def _cached_part_changes(self, start: int, end: int) -> list[PartChange] | None:
        """The parts that change from one change to another, if their steps are at hand."""
        steps, at, count = [], max(start, end), 0
        while at > min(start, end):
            step = self._steps.get(at)
            count += len(step.part_changes) if step else 0
            if step is None or count > _MAX_PARTS_BETWEEN_STATES:
                return None
            steps.append(step)
            at = step.previous_change
        if at != min(start, end):
            return None
        if end < start:
            return [part.inverse for step in steps for part in step.part_changes]
        return [part for step in reversed(steps) for part in step.part_changes]

    def _load_value(self, change: int) -> LazyObject:
        with self._workspace.reading() as connection:
            live_parts = document_parts.live_parts_sql(
                f"({_DOCUMENT_CONDITION} AND (h.change <= ?))"
            )
            found = fetch_arrow(
                connection,
                f"SELECT part, place[-1] AS place, state FROM ({live_parts}) ORDER BY place",
                [*self._document_parameters, change],
            )
        current = root = LazyObject()
        objects, current_path = {"": root}, ""
        columns = (found[name].to_pylist() for name in ("part", "place", "state"))
        for path, position, state in zip(*columns, strict=True):
            above, _, step = path.rpartition("/")
            if not path:
                continue
            if above != current_path:
                if above not in objects:
                    raise self._damaged_file_error(path)
                current, current_path = objects[above], above
            name = _unescape_step(step) if "~" in step else step
            if state == _EMPTY_OBJECT:
                current[name] = objects[path] = LazyObject()
            else:
                current[name] = msgspec.Raw(state)
            current.member_places[name] = position
        return root

    def _damaged_file_error(self, path: str) -> WorkspaceError:
        """A stranger's parts may be any; ours stand inside of one another."""
        return WorkspaceError(
            f"{self._workspace.path} is damaged: the part {path!r} of {self._document_parameters[-1]!r} is in"
            " nothing; fold it again with refold replay --force."
        )

    def _load_part_changes(
        self, connection: duckdb.DuckDBPyConnection, column: str, first: int, last: int
    ) -> list[tuple[int, PartChange]]:
        """Parts that changed from one `change` or `offset` to another, with the number of the change
        and what they were before, in the order of the log."""
        rows = connection.execute(
            "SELECT h.change, h.part, h.place[-1], h.state FROM parts AS h"
            f' WHERE {_DOCUMENT_CONDITION} AND h."{column}" BETWEEN ? AND ? ORDER BY h.change, h.part',
            [*self._document_parameters, first, last],
        ).fetchall()
        changed_parts = list({part for _, part, _, _ in rows})
        known_states = {
            part: (state, place)
            for part, state, place in connection.execute(
                "SELECT p.part, p.state, l.place FROM (SELECT arg_max(h.rowid, h.change) AS latest,"
                " arg_max(h.place[-1], h.change) AS place FROM parts AS h"
                f' WHERE {_DOCUMENT_CONDITION} AND list_contains(?, h.part) AND h."{column}" < ?'
                " GROUP BY h.part) AS l"
                " JOIN parts AS p ON p.rowid = l.latest",
                [*self._document_parameters, changed_parts, first],
            ).fetchall()
        }
        found = []
        for change, path, position, state in rows:
            before, place_before = known_states.get(path, (None, 0))
            place_after = place_before if position is None else position
            found.append((change, PartChange(path, before, state, place_before, place_after)))
            known_states[path] = state, place_after
        return found


@dataclass(frozen=True)
class LargeDocumentChange:
    """A change of a large document."""

    offset: int
    change_number: int
    """The change's."""
    document: LargeDocument

    @property
    def state(self) -> str | None:
        return self.document.json_after(self.change_number)

    @property
    def value(self) -> Any:
        return self.document.value_after(self.change_number)

    @property
    def is_cached(self) -> bool:
        """Whether its value can be had without asking the file."""
        return self.document.is_cached(self.change_number)

    def differences_since(self, previous: Change | None) -> list[Difference]:
        if isinstance(previous, LargeDocumentChange):
            return self.document.differences_between(previous.change_number, self.change_number)
        return find_differences(value_after(previous), self.value)


def _build_ordered_value(parts: dict[str, PartChange]) -> Any:
    """The value that has these parts, its members in the order of their places."""
    ordered = sorted(parts.values(), key=lambda part: (part.path.count("/"), part.place_after))
    return build_sparse_value({part.path: part.after for part in ordered})


def build_sparse_value(states: dict[str, str | None]) -> Any:
    """The value that has these parts, outer ones first, and of the others what is around them."""
    root: dict[str, Any] = {}
    for path, state in states.items():
        current, pointer = root, ""
        *above, name = paths.parse_pointer(path) or ("",)
        for step in above:
            pointer += paths.format_pointer((step,))
            if states.get(pointer, _EMPTY_OBJECT) != _EMPTY_OBJECT:
                break  # it is gone, or whole
            current = current.setdefault(step, {})
        else:
            if path and state == _EMPTY_OBJECT:
                current.setdefault(name, {})
            elif path and state is not None:
                current[name] = decode_or_text(state)
    return root


def _apply_part_changes(value: LazyObject, part_changes: Sequence[PartChange]) -> LazyObject:
    root = value.copy()
    copies = {"": root}
    for part in (
        sorted(part_changes, key=lambda part: part.path) if len(part_changes) > 1 else part_changes
    ):
        if not part.path:
            continue
        above, name = _split_pointer(part.path)
        parent = _copy_object(copies, above)
        if parent is None:
            continue  # it is gone with what was around it
        if part.after is None:
            parent.remove(name)
        elif part.after != _EMPTY_OBJECT:
            parent.put(name, msgspec.Raw(part.after), part.place_after)
        elif isinstance(dict.get(parent, name), LazyObject):
            parent.put(name, dict.__getitem__(parent, name), part.place_after)
        else:
            parent.put(name, LazyObject(), part.place_after)
    return root


def _copy_object(copies: dict[str, LazyObject], path: str) -> LazyObject | None:
    """The copy of an object, made with those around it; None where there is none."""
    if path not in copies:
        above, name = _split_pointer(path)
        parent = _copy_object(copies, above)
        inside = None if parent is None else dict.get(parent, name)
        if parent is None or not isinstance(inside, LazyObject):
            return None
        copies[path] = inside.copy()
        dict.__setitem__(parent, name, copies[path])
    return copies[path]


def _split_pointer(path: str) -> tuple[str, str]:
    """Where a part is, and what it is called there."""
    above, _, step = path.rpartition("/")
    return above, _unescape_step(step)


def _unescape_step(step: str) -> str:
    return paths.parse_pointer(f"/{step}")[0]
