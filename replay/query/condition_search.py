"""Moments: when a condition became true, or stopped being so, in the whole history.

Exact, also for what healed later: every state is looked at, and compared with the one before it.
Before its first state a document counts as false, and so does a deleted one. A condition with sum,
avg or count is one on all documents together, asked after every event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replay.history.fold_reports import InvariantViolation
from replay.history.history import History
from replay.query import aggregates, expressions
from replay.query.sql_compiler import CompiledExpression

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Transition:
    """A moment at which a condition turned."""

    offset: int
    key: str | None
    """None where it is one on all documents together."""


@dataclass(frozen=True)
class TransitionPage:
    """The moments of one stretch of the log, in its order."""

    last_offset: int
    """The last offset that has been looked at."""
    mismatched_states: int
    """States in it that hold a value of another kind than it is compared as."""
    transitions: list[Transition]


def find_became_true(history: History, condition: str) -> Iterator[TransitionPage]:
    """Every moment at which a condition became true, a stretch of the log at a time; scans.

    Raises `QueryError` for a wrong one, before anything else.
    """
    return _find_transitions(history, condition, target=True)


def find_became_false(history: History, condition: str) -> Iterator[TransitionPage]:
    """Every moment at which a condition stopped being true; scans. Raises `QueryError`."""
    return _find_transitions(history, condition, target=False)


def is_over_all_documents(history: History, condition: str) -> bool:
    """Whether a condition is on all documents together; raises `QueryError` for a wrong one."""
    with history.workspace.reading() as connection:
        if aggregates.uses_aggregates(connection, condition):
            aggregates.compile_aggregate_condition(connection, condition, long_numbers=False)
            return True
        expressions.compile_condition(connection, condition, long_numbers=False)
        return False


def find_invariant_violations(
    history: History, name: str, condition: str
) -> list[InvariantViolation]:
    """Every moment from which a condition didn't hold, with the one at which it did again; scans.

    It is broken where it can't be told of a state. Raises `QueryError`.
    """
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - they import Arrow, and a screen needn't

    everywhere = is_over_all_documents(history, condition)
    opposite = f"NOT (\n{condition}\n)"
    if everywhere:
        turned = [
            row
            for stretch in running_aggregates.scan_aggregate_transitions(history, opposite)
            for row in stretch.transitions
        ]
        begun = [offset for offset, holds in turned if holds]
        ended = [*(offset for offset, holds in turned if not holds), None]
        return [
            InvariantViolation(name, at, None, None, until)
            for at, until in zip(begun, ended, strict=False)
        ]
    found: list[InvariantViolation] = []
    open_at: dict[str, int] = {}
    for stretch in condition_transitions.scan_condition_transitions(
        history, _compile_condition(history, opposite), target=None
    ):
        for turn in stretch.transitions.to_pylist():
            key = turn["key"]
            if turn["holds"]:
                open_at[key] = len(found)
                found.append(InvariantViolation(name, turn["offset"], key, None, None))
            else:
                index = open_at.pop(key)
                found[index] = replace(found[index], until=turn["offset"])
    return found


def _find_transitions(
    history: History, condition: str, *, target: bool
) -> Iterator[TransitionPage]:
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - as above

    first = history.fold_record.first_offset
    if is_over_all_documents(history, condition):
        return (
            TransitionPage(
                s.last_offset,
                0,
                [
                    Transition(o, None)
                    for o, holds in s.transitions
                    if holds == target and o >= first
                ],
            )
            for s in running_aggregates.scan_aggregate_transitions(history, condition)
        )
    found = condition_transitions.scan_condition_transitions(
        history, _compile_condition(history, condition), target=target
    )
    return (
        TransitionPage(
            s.last_offset,
            s.mismatched_states,
            [Transition(o, k) for o, k in _offsets_and_keys(s.transitions) if o >= first],
        )
        for s in found
    )


def _offsets_and_keys(rows: "pa.Table") -> Iterator[tuple[int, str]]:
    return ((row["offset"], row["key"]) for row in rows.to_pylist())


def _compile_condition(history: History, condition: str) -> CompiledExpression:
    with history.workspace.reading() as connection:
        return expressions.compile_condition(
            connection, condition, long_numbers=history.has_long_numbers
        )
