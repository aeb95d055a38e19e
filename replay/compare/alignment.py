"""Alignment of two timelines: which event of one corresponds to which event of the other.

The timelines share the events of their nearest common ancestor. An event that only one of them has
comes after the common event that it follows there. So every event of both timelines has a coordinate:
the position of the common event, and the distance after it. Events that both timelines inserted after
the same common event get the same coordinates and are shown side by side.
"""

from bisect import bisect_right
from functools import cached_property
from itertools import zip_longest

from storage.coordinates.event_labels import Label
from storage.timelines.fork_views import step_function_sql
from storage.timelines.forked_workspace import list_lineage
from storage.workspace.workspace import MAIN_TIMELINE, Workspace

_COORDINATE_BITS = 20
_COORDINATES_PER_EVENT = 1 << _COORDINATE_BITS
"""The number of coordinates for each common event; a fork never inserts as many events after one."""


class AlignedSide:
    """One timeline of an alignment, with its positions relative to an ancestor."""

    def __init__(self, workspace: Workspace, ancestor: str) -> None:
        self.workspace = workspace
        names = list_lineage_names(workspace)
        self._lineage = list_lineage(workspace)[names.index(ancestor) :]
        """The forks between the ancestor and this timeline, oldest first."""
        self.ancestor = self._lineage[0].parent if self._lineage else workspace
        self.inserted_positions = self._find_inserted_positions()
        """The positions of events that the ancestor doesn't have, ascending."""

    def _find_inserted_positions(self) -> list[int]:
        found: list[int] = []
        for fork in self._lineage:
            overlay = fork.position_map
            own = [anchor + 1 + n for n, anchor in enumerate(overlay.insert_anchors)]
            found = sorted([*(overlay.from_parent(position) for position in found), *own])
        return found

    def coordinate_of(self, position: int) -> int:
        """Return the coordinate of a position on this timeline."""
        common_position = position - bisect_right(self.inserted_positions, position)
        return (
            common_position * _COORDINATES_PER_EVENT + position - self.position_of(common_position)
        )

    def position_of(self, common_position: int) -> int:
        """Return the position on this timeline of an event of the ancestor."""
        for fork in self._lineage:
            common_position = fork.position_map.from_parent(common_position)
        return common_position

    def position_at(self, coordinate: int) -> int | None:
        """Return the position of the event with this coordinate; None if there is none."""
        common_position, behind = divmod(coordinate, _COORDINATES_PER_EVENT)
        position = self.position_of(common_position) + behind
        is_exact = behind == 0 or self.coordinate_of(position) == coordinate
        return position if is_exact else None

    def position_before(self, coordinate: int) -> int:
        """Return the position after all events of this timeline up to and including a coordinate."""
        common_position, behind = divmod(coordinate, _COORDINATES_PER_EVENT)
        position = self.position_of(common_position)
        while behind and self.coordinate_of(position + 1) <= coordinate:
            position, behind = position + 1, behind - 1
        return position

    @cached_property
    def coordinate_sql(self) -> str:
        """SQL for the coordinate of the position in the column `"offset"`."""
        steps: list[tuple[int, int]] = []
        run_length = 0
        for position, following in zip_longest(
            self.inserted_positions, self.inserted_positions[1:]
        ):
            run_length += 1
            steps.append((position - 1, 1 - _COORDINATES_PER_EVENT))
            if following != position + 1:
                # At the next common event the distance is 0 again.
                steps.append((position, -run_length))
                run_length = 0
        return (
            f'("offset" * {_COORDINATES_PER_EVENT} +'
            f" {step_function_sql(chr(34) + 'offset' + chr(34), steps)})"
        )


class AlignedTimelines:
    """Two timelines of one log, aligned with each other."""

    def __init__(self, a: Workspace, b: Workspace) -> None:
        ancestor = find_common_ancestor(a, b)
        self.a = AlignedSide(a, ancestor)
        self.b = AlignedSide(b, ancestor)

    def label_at(self, coordinate: int) -> Label:
        """Return the label of the event at a coordinate, as the timeline that has it shows it."""
        position = self.a.position_at(coordinate)
        if position is not None:
            return self.a.workspace.label_at(position)
        position = self.b.position_at(coordinate)
        return self.b.workspace.label_at(
            self.b.position_before(coordinate) if position is None else position
        )


def find_common_ancestor(a: Workspace, b: Workspace) -> str:
    """Return the nearest timeline from which both descend, which may be one of them."""
    above = set(list_lineage_names(a))
    return next(name for name in reversed(list_lineage_names(b)) if name in above)


def list_lineage_names(workspace: Workspace) -> list[str]:
    """Return the names of the timelines from `main` to a timeline, oldest first."""
    return [MAIN_TIMELINE, *(forked.timeline for forked in workspace.lineage)]
