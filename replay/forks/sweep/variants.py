"""What is varied in a sweep: a fork for each value of a parameter, or for each event that is dropped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from replay.forks.edit_builder import Editing, fork
from storage.errors import QueryError
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

MOST = 10_000
"""Forks of one sweep."""


@dataclass(frozen=True)
class Variant:
    """One fork of a sweep, which isn't kept."""

    seen: Seen
    what: str
    """What is otherwise on it: the value, or the event that is dropped."""


def free_name(taken: Iterable[str]) -> str:
    """What the forks of a sweep are called, before their own part: no other timeline is called so."""
    there = list(taken)
    names = ("sweep" if n == 1 else f"sweep{n}" for n in count(1))
    return next(name for name in names if not any(t.startswith(f"{name}-") for t in there))


def dropping(workspace: Workspace, name: str, places: Sequence[int]) -> list[Variant]:
    """A fork for each of some events, without it. Raises `QueryError`."""
    _refuse_many(len(places))
    found = []
    for place in places:
        label = workspace.label(place)
        made = Editing(workspace, f"{name}-{label}".replace("+", "."))
        made.drop(place)
        found.append(Variant(_fork(workspace, made), f"without {label}"))
    return found


def setting(
    workspace: Workspace, name: str, places: Sequence[int], path: str, values: Sequence[str]
) -> list[Variant]:
    """A fork for each value, with it at a path of one or several events. Raises `QueryError`."""
    _refuse_many(len(values))
    found = []
    for number, value in enumerate(values):
        made = Editing(workspace, f"{name}-{number}")
        for place in places:
            made.set(place, path, value)
        found.append(Variant(_fork(workspace, made), f"{path} = {value}"))
    return found


def numbers(first: float, last: float, step: float) -> list[str]:
    """The values from one number to another; raises `QueryError` where none or too many are met."""
    if not all(map(math.isfinite, (first, last, step))) or step == 0 or (last - first) / step < 0:
        raise QueryError(f"No number is reached from {first:g} by steps of {step:g} to {last:g}.")
    count = int((last - first) / step + 1e-9) + 1
    _refuse_many(count)
    return [f"{round(first + n * step, 12):.12g}" for n in range(count)]


def _fork(workspace: Workspace, made: Editing) -> Seen:
    return fork(workspace, made.name, made.edits)


def _refuse_many(count: int) -> None:
    if count > MOST:
        raise QueryError(f"A sweep has {MOST:,} forks at most, and these are {count:,}.")
    if not count:
        raise QueryError("There is nothing to sweep over.")
