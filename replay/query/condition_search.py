"""Transitions: when a condition became true or false, in the whole history.

The search is exact, also for violations that healed later, because it compares every state with the
one before it. A document counts as false before its first state and after its deletion. A condition
with sum, avg or count is about all documents together; it is evaluated after every event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replay.history.fold_reports import InvariantViolation
from replay.history.history import History
from replay.query import aggregates, expressions
from replay.query.expressions import Expression, ParsedExpression

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Transition:
    """An event that turned a condition true or false."""

    offset: int
    key: str | None
    """The document; None if the condition is about all documents together."""


@dataclass(frozen=True)
class TransitionPage:
    """The transitions of one stretch of the log, in the order of the log."""

    last_offset: int
    """The last offset that has been searched."""
    mismatched_states: int
    """States of the stretch in which a value has another type than the condition compares it as."""
    transitions: list[Transition]


def find_became_true(history: History, condition: Expression) -> Iterator[TransitionPage]:
    """Yield every transition of a condition to true, one stretch of the log at a time.

    Scans the history. Raises `QueryError` before the scan if the condition is invalid.
    """
    return _find_transitions(history, condition, target=True)


def find_became_false(history: History, condition: Expression) -> Iterator[TransitionPage]:
    """Yield every transition of a condition to false, one stretch of the log at a time.

    Scans the history. Raises `QueryError` before the scan if the condition is invalid.
    """
    return _find_transitions(history, condition, target=False)


def parse_condition(history: History, condition: Expression) -> ParsedExpression:
    """Return a condition parsed, to hand it on to several searches.

    Raises `QueryError` if the condition is invalid.
    """
    with history.workspace.reading() as connection:
        parsed = expressions.parse_expression(connection, condition)
        if parsed.uses_aggregates:
            aggregates.compile_aggregate_condition(connection, parsed, long_numbers=False)
        else:
            expressions.compile_condition(connection, parsed, long_numbers=False)
    return parsed


def find_invariant_violations(
    history: History, name: str, condition: Expression
) -> list[InvariantViolation]:
    """Return every violation of a condition, each with the event after which it held again.

    A state violates the condition if the condition can't be evaluated on it. Scans the history.
    Raises `QueryError` if the condition is invalid.
    """
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - they import Arrow, which slows start-up

    violation = parse_condition(history, condition).negation
    if violation.uses_aggregates:
        transitions = [
            row
            for stretch in running_aggregates.scan_aggregate_transitions(history, violation)
            for row in stretch.transitions
        ]
        starts = [offset for offset, holds in transitions if holds]
        ends = [*(offset for offset, holds in transitions if not holds), None]
        return [
            InvariantViolation(name, start, None, None, until)
            for start, until in zip(starts, ends, strict=False)
        ]
    found: list[InvariantViolation] = []
    open_at: dict[str, int] = {}
    for stretch in condition_transitions.scan_condition_transitions(
        history, violation, target=None
    ):
        for transition in stretch.transitions.to_pylist():
            key = transition["key"]
            if transition["holds"]:
                open_at[key] = len(found)
                found.append(InvariantViolation(name, transition["offset"], key, None, None))
            else:
                index = open_at.pop(key)
                found[index] = replace(found[index], until=transition["offset"])
    return found


def _find_transitions(
    history: History, condition: Expression, *, target: bool
) -> Iterator[TransitionPage]:
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - they import Arrow, which slows start-up

    first = history.fold_record.first_offset
    parsed = parse_condition(history, condition)
    if parsed.uses_aggregates:
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
            for s in running_aggregates.scan_aggregate_transitions(history, parsed)
        )
    found = condition_transitions.scan_condition_transitions(history, parsed, target=target)
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
