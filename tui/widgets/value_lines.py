"""A JSON value as lines: names, values, and what an event changed.

Pure functions: values and differences in, lines out. Long values and long documents are cut with a
visible mark.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.cells import cell_len

from replay.document.diff import Difference, DifferenceKind, encode_value
from replay.document.paths import ABSENT, DocumentPath, PathStep
from tui.text.sanitize import sanitize_line, shorten
from tui.text.span import Span

MOST_LINES = 5_000
MORE = 1_000
"""Members of a very large object that Enter adds."""
_MANY = 200
"""Members up to which an object or a list is shown completely."""
_FEW = 50
"""Members of a larger one that are shown, besides those that changed."""
_SOUGHT = 8
"""Changed names up to which each is searched separately."""
_LONGEST = 400
_WIDEST = 16
"""Columns that names are padded to, at most."""
_DEEPEST = 60
"""Levels shown line by line; deeper values are shown as JSON text."""


@dataclass(frozen=True)
class ValueLine:
    """One line of a value."""

    spans: tuple[Span, ...]
    path: DocumentPath = ()
    style: str = ""
    """Style of the whole line: `added`, `changed`, `removed` or empty."""
    is_expandable: bool = False
    """The line shows an object or a list that can be collapsed and expanded."""
    left_out: int = 0
    """The line stands for hidden members of the object at its path; this many are shown before it."""


@dataclass(frozen=True)
class ExpansionState:
    """Which parts of a value are shown."""

    closed_paths: frozenset[DocumentPath] = frozenset()
    more: Mapping[DocumentPath, int] = field(default_factory=dict)
    """By path, the number of members shown of large objects, if it isn't the default."""
    revealed_path: DocumentPath | None = None
    """A path that is shown in any case."""

    def reveal(self, path: DocumentPath | None) -> "ExpansionState":
        """Return the same state, in which the value at a path is shown in any case."""
        return replace(self, revealed_path=path)

    def toggle(self, path: DocumentPath) -> "ExpansionState":
        """Return the state after an object or a list was collapsed or expanded."""
        return replace(self, closed_paths=self.closed_paths ^ {path})

    def show_more(self, path: DocumentPath, shown: int) -> "ExpansionState":
        """Return the state in which more than `shown` members of a large object are shown."""
        return replace(self, more={**self.more, path: shown + MORE})


def value_lines(
    value: Any, differences: Sequence[Difference] = (), opening: ExpansionState | None = None
) -> list[ValueLine]:
    """Return the lines of a value; removed parts are shown at their old place."""
    opening = opening or ExpansionState()
    marks = _Marks(differences, opening.revealed_path)
    lines: list[ValueLine] = []
    for line in _root_lines(value, marks, opening):
        if len(lines) == MOST_LINES:
            lines.append(ValueLine((("… too long to show completely · y copy all", "muted"),)))
            break
        lines.append(line)
    return lines


def find_path_line(lines: Sequence[ValueLine], path: DocumentPath) -> int | None:
    """Return the line of the value at a path, or of its nearest parent that is shown."""
    while path:
        found = next((number for number, line in enumerate(lines) if line.path == path), None)
        if found is not None:
            return found
        path = path[:-1]
    return None


def find_first_change(lines: Sequence[ValueLine]) -> int | None:
    """Return the first line that the event changed."""
    return next((number for number, line in enumerate(lines) if line.style), None)


class _Marks:
    """The differences by path."""

    def __init__(
        self, differences: Sequence[Difference] = (), wanted: DocumentPath | None = None
    ) -> None:
        self.at: Mapping[DocumentPath, Difference] = {d.path: d for d in differences}
        self.removed: dict[DocumentPath, list[Difference]] = {}
        self.below: dict[DocumentPath, set[PathStep]] = {}
        """For each path above a difference, the next steps towards differences."""
        for path in (*self.at, *([] if wanted is None else [wanted])):
            for depth, step in enumerate(path):
                self.below.setdefault(path[:depth], set()).add(step)
        for found in differences:
            if found.kind is DifferenceKind.REMOVED and found.path:
                self.removed.setdefault(found.path[:-1], []).append(found)


def _root_lines(value: Any, marks: _Marks, opening: ExpansionState) -> Iterator[ValueLine]:
    whole = marks.at.get(())
    if value is ABSENT:
        if whole is not None:
            yield from _member_lines(whole.before, (), _Marks(), opening, "removed")
        return
    under = "added" if whole is not None and whole.kind is DifferenceKind.ADDED else ""
    if isinstance(value, (dict, list)):
        if not value:
            yield ValueLine((("{}" if isinstance(value, dict) else "[]", "muted"),), (), under)
        yield from _member_lines(value, (), marks, opening, under)
    else:
        yield ValueLine((_scalar_span(value),), (), under)


def _member_lines(
    value: Any, path: DocumentPath, marks: _Marks, opening: ExpansionState, under: str
) -> Iterator[ValueLine]:
    items = list(_shown_members(value, path, marks, opening))
    scalars = [
        str(name)[:_WIDEST] for name, item, out in items if not out and not _is_container(item)
    ]
    column = min(max((cell_len(sanitize_line(name)) for name in scalars), default=0), _WIDEST)
    shown = 0
    for name, item, out in items:
        if out:
            text = f"{'  ' * len(path)}  … {out:,} more" + (
                " · enter show more" if not shown else ""
            )
            yield ValueLine(
                ((text, "muted"),), path, left_out=_shown_member_count(value, path, opening)
            )
            shown += 1
        else:
            yield from _lines_of_member(name, item, (*path, name), marks, opening, under, column)
    for gone in marks.removed.get(path, ()):
        yield from _lines_of_member(
            gone.path[-1], gone.before, gone.path, _Marks(), opening, "removed", column
        )


def _shown_member_count(value: Any, path: DocumentPath, opening: ExpansionState) -> int:
    """Return how many of the first members of an object or a list are shown."""
    return opening.more.get(path, _FEW if len(value) > _MANY else _MANY)


def _shown_members(
    value: Any, path: DocumentPath, marks: _Marks, opening: ExpansionState
) -> Iterator[tuple[Any, Any, int]]:
    """Yield (name, member, 0), and (None, None, count) for each gap of hidden members."""
    names: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
    first = min(_shown_member_count(value, path, opening), len(names))
    wanted = {name for name in marks.below.get(path, ()) if _has_member(value, name)}
    if len(wanted) <= _SOUGHT:  # scanning all names would be too slow for one step
        marked = sorted(names.index(name) for name in wanted)
    else:
        marked = [place for place, name in enumerate(names) if name in wanted]
    shown = -1
    for number in (*range(first), *(place for place in marked if place >= first), len(names)):
        if number > shown + 1:
            yield None, None, number - shown - 1
        if number < len(names):
            yield names[number], value[names[number]], 0
        shown = number


def _has_member(value: Any, name: Any) -> bool:
    if isinstance(value, dict):
        return name in value
    return isinstance(name, int) and name < len(value)


def _lines_of_member(
    name: Any,
    value: Any,
    path: DocumentPath,
    marks: _Marks,
    opening: ExpansionState,
    under: str,
    column: int,
) -> Iterator[ValueLine]:
    found = marks.at.get(path)
    if found is not None and not under:
        under = found.kind.value
    indent = "  " * (len(path) - 1)
    label = shorten(sanitize_line(name[:_LONGEST]), 60) if isinstance(name, str) else f"[{name}]"
    label += " " * (column - cell_len(label))
    sign = {"added": "+", "removed": "-", "changed": "~"}.get(under, " ")
    head = ((f"{sign} ", under or "muted"), (f"{indent}{label} ", "name"))
    if _is_container(value) and len(path) < _DEEPEST:
        if path in opening.closed_paths:
            count = f"{'{' if isinstance(value, dict) else '['}{len(value):,} …"
            yield ValueLine((*head, (count, "muted")), path, under, is_expandable=True)
            return
        yield ValueLine(head, path, under, is_expandable=True)
        yield from _member_lines(value, path, marks, opening, under)
        return
    spans: tuple[Span, ...] = (*head, _scalar_span(value))
    if found is not None and found.kind is DifferenceKind.CHANGED:
        spans = (*spans, (f"   was {shorten(encode_value(found.before), 60)}", "was"))
    yield ValueLine(spans, path, under)


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _scalar_span(value: Any) -> Span:
    text = shorten(encode_value(value), _LONGEST)
    if isinstance(value, str):
        return text, "text"
    if value is None or isinstance(value, bool):
        return text, "truth"
    return (text, "muted") if isinstance(value, (dict, list)) else (text, "number")
