"""Builds the variants of a sweep: one fork per value of a parameter, or per dropped event."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from replay.forks.edit_builder import EditBuilder, create_fork
from storage.errors import QueryError
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace

MAX_VARIANTS = 10_000
"""The most forks of one sweep."""


@dataclass(frozen=True)
class SweepVariant:
    """One fork of a sweep, which isn't saved."""

    forked_workspace: ForkedWorkspace
    label: str
    """The difference to the timeline, for a person: the value set, or the event dropped."""


def choose_free_name(taken_names: Iterable[str]) -> str:
    """Return a common prefix for the names of a sweep's forks that no existing timeline has."""
    existing = list(taken_names)
    names = ("sweep" if n == 1 else f"sweep{n}" for n in count(1))
    return next(name for name in names if not any(t.startswith(f"{name}-") for t in existing))


def build_drop_variants(
    workspace: Workspace, name: str, positions: Sequence[int]
) -> list[SweepVariant]:
    """Return one variant per position, without the event there.

    Raises `QueryError` for no or too many positions, and `PositionError` if there is no event.
    """
    _raise_if_too_many(len(positions))
    variants = []
    for position in positions:
        label = workspace.label_at(position)
        builder = EditBuilder(workspace, f"{name}-{label}".replace("+", "."))
        builder.drop(position)
        variants.append(SweepVariant(_create_fork(workspace, builder), f"without {label}"))
    return variants


def build_value_variants(
    workspace: Workspace, name: str, positions: Sequence[int], path: str, values: Sequence[str]
) -> list[SweepVariant]:
    """Return one variant per value, with the value set at a path of the events at the positions.

    Raises `QueryError` for no or too many values, and for an invalid path or value.
    """
    _raise_if_too_many(len(values))
    variants = []
    for number, value in enumerate(values):
        builder = EditBuilder(workspace, f"{name}-{number}")
        for position in positions:
            builder.set(position, path, value)
        variants.append(SweepVariant(_create_fork(workspace, builder), f"{path} = {value}"))
    return variants


def list_numbers(first: float, last: float, step: float) -> list[str]:
    """Return the numbers from `first` to `last` in steps, as texts.

    Raises `QueryError` if `last` can't be reached or the numbers are too many.
    """
    if not all(map(math.isfinite, (first, last, step))) or step == 0 or (last - first) / step < 0:
        raise QueryError(
            f"{last:g} can't be reached from {first:g} in steps of {step:g}. Give another step."
        )
    count = int((last - first) / step + 1e-9) + 1
    _raise_if_too_many(count)
    return [f"{round(first + n * step, 12):.12g}" for n in range(count)]


def _create_fork(workspace: Workspace, builder: EditBuilder) -> ForkedWorkspace:
    return create_fork(workspace, builder.name, builder.edits)


def _raise_if_too_many(count: int) -> None:
    if count > MAX_VARIANTS:
        raise QueryError(
            f"The sweep would have {count:,} forks, and the limit is {MAX_VARIANTS:,}."
            " Give fewer values or events."
        )
    if not count:
        raise QueryError("The sweep has no values and no events. Give at least one.")
