"""A large document, which a history stores in parts: its states and the steps between them.

Members are decoded only when they are read. To move to a nearby state, only the parts that differ are
replaced, in copies of the objects around them.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from replay.document import paths
from replay.document.diff import Difference, decode_or_text, find_differences
from replay.document.paths import DocumentPath
from replay.history.changes import Change, value_after
from storage.errors import WorkspaceError
from storage.folds.part_rows import DocumentPartRows

_MAX_CACHED_STEPS = 2_000
"""Changes whose steps are cached."""
_MAX_PARTS_BETWEEN_STATES = 5_000
"""If more parts differ between two states, the later state is loaded instead of derived."""
_EMPTY_OBJECT = "{}"


class LazyObject(dict[str, Any]):
    """An object of a large document; each member stays JSON until it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.member_places: dict[str, int] = {}
        """The sort position of each member; copies share this dict until one of them changes it."""
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
        dict.update(other, self)  # copies the members without decoding them
        other.member_places = self.member_places
        self._shared = other._shared = True
        return other

    def put(self, name: str, value: Any, position: int) -> None:
        """Set a member and keep the members in the order of their positions."""
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
        """Remove a member if it exists."""
        self.pop(name, None)
        self._unshare_places().pop(name, None)

    def _unshare_places(self) -> dict[str, int]:
        if self._shared:
            self.member_places, self._shared = dict(self.member_places), False
        return self.member_places


@dataclass(frozen=True)
class PartChange:
    """A part of a document before and after a change, as JSON; None if the part doesn't exist."""

    path: str
    before: str | None
    after: str | None
    place_before: int
    place_after: int

    @property
    def inverse(self) -> "PartChange":
        """The same change in the other direction."""
        return PartChange(self.path, self.after, self.before, self.place_after, self.place_before)


@dataclass(frozen=True)
class _ChangeStep:
    """The parts that one change changed."""

    previous_change: int
    """The number of the document's previous change; -1 if there is none."""
    part_changes: Sequence[PartChange]


class LargeDocument:
    """One large document. Its methods can be called from several threads."""

    def __init__(self, part_rows: DocumentPartRows, workspace_path: Path, key: str) -> None:
        """`workspace_path` and `key` name the document in errors."""
        self._part_rows = part_rows
        self._workspace_path = workspace_path
        self._key = key
        self._lock = threading.Lock()
        self._steps: dict[int, _ChangeStep] = {}
        self._last_value: tuple[int, LazyObject] = (-1, LazyObject())
        """The change whose value was returned last, and the value."""

    def json_after(self, change: int) -> str | None:
        """Return the whole document after a change as JSON; None if the document is deleted."""
        return self._part_rows.read_json(change)

    def is_cached(self, change: int) -> bool:
        """Return whether the value after a change is available without reading the workspace."""
        with self._lock:
            return self._cached_part_changes(self._last_value[0], change) is not None

    def value_after(self, change: int) -> LazyObject:
        """Return the whole document after a change; reads the workspace if it isn't cached."""
        with self._lock:
            last_change, value = self._last_value
            part_changes = self._cached_part_changes(last_change, change)
            value = (
                self._load_value(change)
                if part_changes is None
                else _apply_part_changes(value, part_changes)
            )
            self._last_value = (change, value)
            return value

    def differences_between(self, earlier: int, later: int) -> list[Difference]:
        """Return how the document differs after the change `later` from after the change `earlier`."""
        with self._lock:
            part_changes = self._cached_part_changes(earlier, later)
        if part_changes is None:
            changed = self._load_part_changes("change", earlier + 1, later)
            part_changes = [part for _, part in changed]
        first = {part.path: part.inverse for part in reversed(part_changes)}
        last = {part.path: part for part in part_changes}
        return find_differences(*(_build_ordered_value(parts) for parts in (first, last)))

    def cache_steps(self, first: int, last: int, previous: dict[int, int]) -> None:
        """Cache the steps of the events from `first` to `last`.

        `previous` maps each change number of the stretch to the number of the change before it.
        """
        steps: dict[int, list[PartChange]] = {number: [] for number in previous}
        for number, part in self._load_part_changes("offset", first, last):
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
        """Yield changes that may have changed the value at a path: offset, and the changed parts of the
        document before and after. Covers events after offset `after` up to `until`."""
        outer_pointers = [paths.format_pointer(path[:n]) for n in range(len(path) + 1)]
        steps = self._part_rows.iterate_steps(
            paths.format_pointer(path),
            outer_pointers,
            after=after,
            until=until,
            backwards=backwards,
        )
        for offset, changed_parts in groupby(steps, key=attrgetter("offset")):
            parts = list(changed_parts)
            old = {step.part: step.before for step in parts}
            new = {step.part: step.after for step in parts}
            yield offset, build_sparse_value(old), build_sparse_value(new)

    def _cached_part_changes(self, start: int, end: int) -> list[PartChange] | None:
        """Return the parts that differ from one change to another; None if a step isn't cached."""
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
        found = self._part_rows.read_live_parts(change)
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
        """Return the error for a part without an enclosing part, which refold never writes."""
        return WorkspaceError(
            f"{self._workspace_path} is damaged: the part {path!r} of {self._key!r} has"
            " no enclosing object. Fold it again with refold replay --force."
        )

    def _load_part_changes(
        self, column: str, first: int, last: int
    ) -> list[tuple[int, PartChange]]:
        """Return the parts that changed from `first` to `last`, each with its change number.

        `column` says whether `first` and `last` are change numbers (`change`) or offsets (`offset`).
        The parts come in the order of the log, each with its state before.
        """
        rows = self._part_rows.read_changes(column, first, last)
        changed_parts = list({row.part for row in rows})
        known_states: dict[str, tuple[str | None, int]] = {
            row.part: (row.state, row.place)
            for row in self._part_rows.read_states_before(column, first, changed_parts)
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
    document: LargeDocument

    @property
    def state(self) -> str | None:
        return self.document.json_after(self.change_number)

    @property
    def value(self) -> Any:
        return self.document.value_after(self.change_number)

    @property
    def is_cached(self) -> bool:
        """Whether its value is available without reading the workspace."""
        return self.document.is_cached(self.change_number)

    def differences_since(self, previous: Change | None) -> list[Difference]:
        if isinstance(previous, LargeDocumentChange):
            return self.document.differences_between(previous.change_number, self.change_number)
        return find_differences(value_after(previous), self.value)


def _build_ordered_value(parts: dict[str, PartChange]) -> Any:
    """Return the value that consists of these parts, with members in the order of their places."""
    ordered = sorted(parts.values(), key=lambda part: (part.path.count("/"), part.place_after))
    return build_sparse_value({part.path: part.after for part in ordered})


def build_sparse_value(states: dict[str, str | None]) -> Any:
    """Return a value that contains these parts and the objects around them.

    `states` maps JSON pointers to JSON, outer parts first; None for a part that doesn't exist.
    """
    root: dict[str, Any] = {}
    for path, state in states.items():
        current, pointer = root, ""
        *above, name = paths.parse_pointer(path) or ("",)
        for step in above:
            pointer += paths.format_pointer((step,))
            if states.get(pointer, _EMPTY_OBJECT) != _EMPTY_OBJECT:
                break  # the enclosing object was deleted, or is stored whole
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
            continue  # the enclosing object was deleted
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
    """Return the copy of an object, copying the objects around it too; None if it doesn't exist."""
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
    """Return the pointer of the enclosing object, and the member's name in it."""
    above, _, step = path.rpartition("/")
    return above, _unescape_step(step)


def _unescape_step(step: str) -> str:
    return paths.parse_pointer(f"/{step}")[0]
