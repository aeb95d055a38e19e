"""Invariants: conditions that must hold for every state, or for all documents after every event.

An invariant is a function in the projection's `INVARIANTS`, which the worker evaluates while it folds,
or a condition (declared there or typed), which is evaluated on the history. If a condition can't be
evaluated on a state, because a value is missing or has another type, the state violates it, as it
would if a function raised.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping

from replay.history.fold_reports import InvariantViolation
from replay.history.history import History
from replay.query import condition_search
from replay.query.expressions import Expression
from storage.errors import QueryError


def find_violations(
    history: History,
    conditions_by_name: Mapping[str, Expression] | None = None,
    *,
    on_error: Callable[[str], None] | None = None,
) -> Iterator[InvariantViolation]:
    """Return the violations of invariants, in the order of the log.

    Without `conditions_by_name`, all invariants that the projection declares are searched. If a
    condition is invalid, `on_error` is called with one sentence before the first violation, and the
    others are searched; without `on_error`, the function raises `QueryError`.
    """
    declared = history.fold_record.invariants
    conditions: Mapping[str, Expression] = {
        name: text for name, text in declared.items() if text is not None
    }
    violations: list[Iterator[InvariantViolation]] = []
    if conditions_by_name is None:
        violations.append(iter(history.invariant_violations()))
    for name, text in (conditions if conditions_by_name is None else conditions_by_name).items():
        try:
            violations.append(iter(condition_search.find_invariant_violations(history, name, text)))
        except QueryError as error:
            if on_error is None:
                raise
            on_error(f"{name}: {error.message}")
    return heapq.merge(*violations, key=lambda v: (v.offset, v.invariant, v.key or ""))
