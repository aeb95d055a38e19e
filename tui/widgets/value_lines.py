"""A JSON value as lines: names, values, and what an event did to them.

Pure: values and differences in, lines out. Long values are cut with a mark, and so is a document
of very many lines; nothing is cut silently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from replay.diff import Difference, Kind, encode
from replay.paths import ABSENT, Path
from tui.printable import printable, shortened
from tui.widgets.line_view import Span

MOST_LINES = 5_000
_LONGEST = 400
_WIDEST = 16
"""Columns that names are filled up to."""
_DEEPEST = 60
"""Levels that are shown line by line."""


@dataclass(frozen=True)
class ValueLine:
    """A line of a value."""

    spans: tuple[Span, ...]
    path: Path = ()
    style: str = ""
    """Under the whole line: `added`, `changed`, `removed` or nothing."""
    opens: bool = False
    """The line stands for an object or a list, which can be closed and opened."""


def value_lines(
    value: Any, differences: Sequence[Difference] = (), closed: frozenset[Path] = frozenset()
) -> list[ValueLine]:
    """The lines of a value; removed parts are shown where they were."""
    marks = _Marks(differences)
    lines: list[ValueLine] = []
    for line in _top(value, marks, closed):
        if len(lines) == MOST_LINES:
            lines.append(ValueLine((("… more lines than are shown here; y copies all", "muted"),)))
            break
        lines.append(line)
    return lines


class _Marks:
    """Where the differences are."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self.at: Mapping[Path, Difference] = {d.path: d for d in differences}
        self.removed: dict[Path, list[Difference]] = {}
        for found in differences:
            if found.kind is Kind.REMOVED and found.path:
                self.removed.setdefault(found.path[:-1], []).append(found)


def _top(value: Any, marks: _Marks, closed: frozenset[Path]) -> Iterator[ValueLine]:
    whole = marks.at.get(())
    if value is ABSENT:
        if whole is not None:
            yield from _members(whole.before, (), _Marks(()), closed, "removed")
        return
    under = "added" if whole is not None and whole.kind is Kind.ADDED else ""
    if isinstance(value, (dict, list)):
        if not value:
            yield ValueLine((("{}" if isinstance(value, dict) else "[]", "muted"),), (), under)
        yield from _members(value, (), marks, closed, under)
    else:
        yield ValueLine((_scalar(value),), (), under)


def _members(
    value: Any, path: Path, marks: _Marks, closed: frozenset[Path], under: str
) -> Iterator[ValueLine]:
    items: Sequence[tuple[Any, Any]]
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    scalars = [str(name)[:_WIDEST] for name, item in items if not _inside(item)]
    column = min(max((cell_len(printable(name)) for name in scalars), default=0), _WIDEST)
    for name, item in items:
        yield from _member(name, item, (*path, name), marks, closed, under, column)
    for gone in marks.removed.get(path, ()):
        yield from _member(
            gone.path[-1], gone.before, gone.path, _Marks(()), closed, "removed", column
        )


def _member(
    name: Any,
    value: Any,
    path: Path,
    marks: _Marks,
    closed: frozenset[Path],
    under: str,
    column: int,
) -> Iterator[ValueLine]:
    found = marks.at.get(path)
    if found is not None and not under:
        under = found.kind.value
    indent = "  " * (len(path) - 1)
    label = shortened(printable(name[:_LONGEST]), 60) if isinstance(name, str) else f"[{name}]"
    label += " " * (column - cell_len(label))
    sign = {"added": "+", "removed": "-", "changed": "~"}.get(under, " ")
    head = ((f"{sign} ", under or "muted"), (f"{indent}{label} ", "name"))
    if _inside(value) and len(path) < _DEEPEST:
        if path in closed:
            count = f"{'{' if isinstance(value, dict) else '['}{len(value):,} …"
            yield ValueLine((*head, (count, "muted")), path, under, opens=True)
            return
        yield ValueLine(head, path, under, opens=True)
        yield from _members(value, path, marks, closed, under)
        return
    spans: tuple[Span, ...] = (*head, _scalar(value))
    if found is not None and found.kind is Kind.CHANGED:
        spans = (*spans, (f"   was {shortened(encode(found.before), 60)}", "was"))
    yield ValueLine(spans, path, under)


def _inside(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _scalar(value: Any) -> Span:
    text = shortened(encode(value), _LONGEST)
    if isinstance(value, str):
        return text, "text"
    if value is None or isinstance(value, bool):
        return text, "truth"
    return (text, "muted") if isinstance(value, (dict, list)) else (text, "number")
