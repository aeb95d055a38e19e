"""What is varied in a sweep: a fork for each value of a parameter, or for each event that is dropped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from replay.forks.edit_builder import EditBuilder, create_fork
from storage.errors import QueryError
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace

MAX_VARIANTS = 10_000
"""Forks of one sweep."""


@dataclass(frozen=True)
class SweepVariant:
    """One fork of a sweep, which isn't kept."""

    forked_workspace: ForkedWorkspace
    label: str
    """What is otherwise on it: the value, or the event that is dropped."""


def choose_free_name(taken_names: Iterable[str]) -> str:
    """What the forks of a sweep are called, before their own part: no other timeline is called so."""
    existing = list(taken_names)
    names = ("sweep" if n == 1 else f"sweep{n}" for n in count(1))
    return next(name for name in names if not any(t.startswith(f"{name}-") for t in existing))


def build_drop_variants(
    workspace: Workspace, name: str, positions: Sequence[int]
) -> list[SweepVariant]:
    """A fork for each of some events, without it. Raises `QueryError`."""
    _raise_if_too_many(len(positions))
    found = []
    for position in positions:
        label = workspace.label_at(position)
        builder = EditBuilder(workspace, f"{name}-{label}".replace("+", "."))
        builder.drop(position)
        found.append(SweepVariant(_create_fork(workspace, builder), f"without {label}"))
    return found


def build_value_variants(
    workspace: Workspace, name: str, positions: Sequence[int], path: str, values: Sequence[str]
) -> list[SweepVariant]:
    """A fork for each value, with it at a path of one or several events. Raises `QueryError`."""
    _raise_if_too_many(len(values))
    found = []
    for number, value in enumerate(values):
        builder = EditBuilder(workspace, f"{name}-{number}")
        for position in positions:
            builder.set(position, path, value)
        found.append(SweepVariant(_create_fork(workspace, builder), f"{path} = {value}"))
    return found


def list_numbers(first: float, last: float, step: float) -> list[str]:
    """The values from one number to another; raises `QueryError` where none or too many are met."""
    if not all(map(math.isfinite, (first, last, step))) or step == 0 or (last - first) / step < 0:
        raise QueryError(f"No number is reached from {first:g} by steps of {step:g} to {last:g}.")
    count = int((last - first) / step + 1e-9) + 1
    _raise_if_too_many(count)
    return [f"{round(first + n * step, 12):.12g}" for n in range(count)]


def _create_fork(workspace: Workspace, builder: EditBuilder) -> ForkedWorkspace:
    return create_fork(workspace, builder.name, builder.edits)


def _raise_if_too_many(count: int) -> None:
    if count > MAX_VARIANTS:
        raise QueryError(f"A sweep has {MAX_VARIANTS:,} forks at most, and these are {count:,}.")
    if not count:
        raise QueryError("There is nothing to sweep over.")
