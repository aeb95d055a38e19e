"""Two timelines beside each other: which event of the one stands where on the other.

What they have in common is their nearest common ancestor's; an event that only one of them has stands
after the common event that it follows there. So every event of both has a coordinate: the common
place, and how far behind it. What both inserted at one place is side by side.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from storage.coordinates.event_labels import Label
from storage.timelines.workspace_view import Seen, stairs
from storage.workspace.workspace import Workspace

_BITS = 20
_BEHIND = 1 << _BITS
"""More than is ever inserted after one event."""


@dataclass(frozen=True)
class Row:
    """An event of either timeline, or of both: its place on each, None where it has none there."""

    at: int
    """Its coordinate."""
    a: int | None
    b: int | None


class Side:
    """A timeline, seen from an ancestor of it."""

    def __init__(self, workspace: Workspace, ancestor: str) -> None:
        self.workspace = workspace
        self._line: list[Seen] = []
        while isinstance(workspace, Seen) and workspace.timeline != ancestor:
            self._line.append(workspace)
            workspace = workspace.parent
        self.ancestor = workspace
        self.inserted = self._inserted()
        """The places of events that the ancestor doesn't have, ascending."""

    def _inserted(self) -> list[int]:
        found: list[int] = []
        for seen in reversed(self._line):
            overlay = seen.overlay
            own = [anchor + 1 + n for n, anchor in enumerate(overlay.anchors)]
            found = sorted([*(overlay.from_parent(place) for place in found), *own])
        return found

    def coordinate(self, place: int) -> int:
        """Of an event here."""
        common = place - bisect_right(self.inserted, place)
        return common * _BEHIND + place - self.place_of(common)

    def place_of(self, common: int) -> int:
        """Where an event of the ancestor's is here."""
        for seen in reversed(self._line):
            common = seen.overlay.from_parent(common)
        return common

    def at(self, coordinate: int) -> int | None:
        """The place of what has this coordinate; None where nothing has it."""
        common, behind = divmod(coordinate, _BEHIND)
        place = self.place_of(common) + behind
        there = behind == 0 or self.coordinate(place) == coordinate
        return place if there else None

    def by(self, coordinate: int) -> int:
        """The position here at a coordinate: after all that stand there or before."""
        common, behind = divmod(coordinate, _BEHIND)
        place = self.place_of(common)
        while behind and self.coordinate(place + 1) <= coordinate:
            place, behind = place + 1, behind - 1
        return place

    @property
    def sql(self) -> str:
        """SQL for the coordinate of what is at `"offset"`."""
        steps: list[tuple[int, int]] = []
        for n, place in enumerate(self.inserted):
            steps.append((place - 1, 1 - _BEHIND))
            if n + 1 == len(self.inserted) or self.inserted[n + 1] != place + 1:
                # The next common event stands at nothing behind again.
                first = n
                while first and self.inserted[first - 1] == self.inserted[first] - 1:
                    first -= 1
                steps.append((place, first - n - 1))
        return f'("offset" * {_BEHIND} + {stairs(chr(34) + "offset" + chr(34), steps)})'


class Aligned:
    """Two timelines of one log, side by side."""

    def __init__(self, a: Workspace, b: Workspace) -> None:
        ancestor = nearest(a, b)
        self.a = Side(a, ancestor)
        self.b = Side(b, ancestor)

    def label(self, coordinate: int) -> Label:
        """What stands at a coordinate, in the words of the timeline that has it."""
        place = self.a.at(coordinate)
        if place is not None:
            return self.a.workspace.label(place)
        place = self.b.at(coordinate)
        return self.b.workspace.label(self.b.by(coordinate) if place is None else place)

    def rows(self, first: int, count: int) -> list[Row]:
        """A page of the events of both, in order, from a row on."""
        found = []
        for row in range(first, min(first + count, self.count)):
            common, behind = self._row(row)
            coordinate = common * _BEHIND + behind
            found.append(Row(coordinate, self.a.at(coordinate), self.b.at(coordinate)))
        return found

    @property
    def count(self) -> int:
        """Rows of events of both."""
        return self.a.ancestor.overlay.events + sum(self._groups.values())

    def row_of(self, coordinate: int) -> int:
        """The row in which something stands."""
        common, behind = divmod(coordinate, _BEHIND)
        return common + behind + sum(n for anchor, n in self._groups.items() if anchor < common)

    @property
    def _groups(self) -> dict[int, int]:
        """How many rows there are behind a common event that isn't common."""
        found: dict[int, int] = {}
        for side in (self.a, self.b):
            for place in side.inserted:
                common, behind = divmod(side.coordinate(place), _BEHIND)
                found[common] = max(found.get(common, 0), behind)
        return found

    def _row(self, row: int) -> tuple[int, int]:
        """The common place, and how far behind it, of a row."""
        for anchor, count in sorted(self._groups.items()):
            if row <= anchor:
                break
            if row <= anchor + count:
                return anchor, row - anchor
            row -= count
        return row, 0


def nearest(a: Workspace, b: Workspace) -> str:
    """The timeline that two have come from, which may be one of them."""
    above = set(line(a))
    return next(name for name in line(b) if name in above)


def line(workspace: Workspace) -> Sequence[str]:
    """A timeline, and those that it was forked from in turn."""
    found = [workspace.timeline]
    while isinstance(workspace, Seen):
        workspace = workspace.parent
        found.append(workspace.timeline)
    return found
